"""LoRA adapters of a tier: named, found in a folder, checked. Knows no Ray, no HTTP, no vLLM.

`tier:adapter` is the name that callers, Serve's multiplexing and vLLM all use. An adapter is a
folder as peft saves it; one that appears while the tier runs is found by the next request.
"""

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = "adapter_config.json"
SEPARATOR = ":"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LISTED = 20


class UnknownAdapter(ValueError):
    """No adapter of this name; the message lists those that there are."""

    http_status = 404


class UnfitAdapter(ValueError):
    """The adapter is there, and this tier cannot run it; the message has the reason."""

    http_status = 400


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter on this node, with the two fields that Ray Serve LLM's engine asks for.

    model_id: `tier:adapter`. local_path: its folder.
    """

    model_id: str
    local_path: str


def adapted(tier: str, adapter: str | None) -> str:
    """The name of a tier's model with an adapter, or without one.

    >>> adapted("zephyr-7b", "support")
    'zephyr-7b:support'
    """
    return tier if adapter is None else f"{tier}{SEPARATOR}{adapter}"


def adapter_names(folder: Path) -> list[str]:
    """Adapters in the folder, sorted; none when it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(
        entry.name for entry in folder.iterdir()
        if has_adapter(folder, entry.name)
    )  # fmt: skip


def is_adapter_name(name: str) -> bool:
    """Whether an adapter can be called so; `..` and `a/b` are no names."""
    return _NAME.fullmatch(name) is not None


def has_adapter(folder: Path, name: str) -> bool:
    """Whether the folder has an adapter of this name."""
    return is_adapter_name(name) and (folder / name / CONFIG).is_file()


def find_adapter(folder: Path, model_id: str) -> Adapter:
    """The adapter that `tier:adapter` names.

    Raises:
        UnknownAdapter: the folder has none of this name.
        UnfitAdapter: what is there is no LoRA adapter.
    """
    name = model_id.rpartition(SEPARATOR)[2]
    if not has_adapter(folder, name):
        known = adapter_names(folder)[:_LISTED]
        there = f"there are {', '.join(known)}" if known else "its folder is empty"
        raise UnknownAdapter(f"The adapter {name!r} of {model_id!r} does not exist; {there}.")
    path = folder / name
    _refuse_no_lora(name, path)
    return Adapter(model_id, str(path))


def _refuse_no_lora(name: str, path: Path) -> None:
    try:
        config = json.loads((path / CONFIG).read_text())
    except ValueError as err:
        raise UnfitAdapter(f"The adapter {name!r} has a damaged {CONFIG}: {err}.") from err
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise UnfitAdapter(f"The adapter {name!r} is of type {kind}; vLLM serves LORA only.")
    if not any((path / f"adapter_model.{end}").is_file() for end in ("safetensors", "bin")):
        raise UnfitAdapter(f"The adapter {name!r} has no adapter_model.safetensors.")


class FolderLoader:
    """Loads adapters for Ray Serve LLM from a folder, in the place of its own bucket loader.

    Args:
        folder: one adapter in each folder of it. The others are Ray Serve LLM's, of no use here.
    """

    def __init__(
        self, folder: Path, download_timeout_s: float | None = None, max_tries: int = 1
    ) -> None:
        self._folder = folder

    async def load_model_from_config(self, lora_model_id: str, llm_config: Any) -> Adapter:
        """Called by Serve's multiplexing for an adapter that this replica does not hold.

        Raises:
            UnknownAdapter, UnfitAdapter: as `find_adapter`.
        """
        return await asyncio.to_thread(find_adapter, self._folder, lora_model_id)
