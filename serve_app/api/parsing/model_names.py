"""What a `model` name stands for: a tier or the router's choice, a class, an adapter.

`TIER`, `TIER:ADAPTER`, `auto`, `auto:CLASS`, `auto+ADAPTER`, `auto:CLASS+ADAPTER`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.adapters import adapter_names, has_adapter, is_adapter_name
from deployments.local_models import resolve_source
from deployments.spec import TierSpec
from serve_app.api.parsing.fields import shown
from serve_app.config import AppConfig
from serve_app.errors import UnknownModel

_AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Named:
    """pinned_tier: None lets the router choose. tiers: those that may answer, where only some have
    the adapter.
    """

    pinned_tier: str | None = None
    slo_class: str | None = None
    adapter: str | None = None
    tiers: frozenset[str] | None = None


def read_model_name(name: Any, config: AppConfig) -> Named:
    """
    Raises:
        UnknownModel: there is no such tier, or no tier has such an adapter.
    """
    tiers = {tier.model_id: tier for tier in config.llm_configs}
    if name is None or name == _AUTO:
        return Named()
    if not isinstance(name, str):
        raise _unknown(name, config)
    if name in tiers:
        return Named(pinned_tier=name)
    chosen, _, adapter = name.partition("+")
    if chosen == _AUTO or chosen.startswith(f"{_AUTO}:"):
        slo_class = chosen.removeprefix(_AUTO).removeprefix(":") or None
        return Named(None, slo_class, adapter or None, _having(adapter, config.llm_configs))
    tier, _, adapter = name.rpartition(":")
    if tier in tiers and tiers[tier].lora_config is not None and is_adapter_name(adapter):
        # The tier will say whether it has it; another one that a fallback names must have it too.
        having = {spec.model_id for spec in config.llm_configs if _may_have(spec, adapter)}
        return Named(pinned_tier=tier, adapter=adapter, tiers=frozenset({tier} | having))
    raise _unknown(name, config)


def adapters_listed(config: AppConfig) -> list[tuple[str, str]]:
    """(tier, adapter) of all adapters in folders that this node sees."""
    folders = {tier.model_id: _folder(tier) for tier in config.llm_configs if tier.lora_config}
    return [
        (tier, adapter)
        for tier, folder in folders.items()
        if folder is not None
        for adapter in adapter_names(folder)
    ]


def _having(adapter: str, tiers: Sequence[TierSpec]) -> frozenset[str] | None:
    """Tiers that have the adapter, or may have it where only they can look.

    Raises:
        UnknownModel: none has.
    """
    if not adapter:
        return None
    having = frozenset(tier.model_id for tier in tiers if _may_have(tier, adapter))
    if not having:
        raise UnknownModel(f"No tier has an adapter {shown(adapter)}.", param="model")
    return having


def _may_have(tier: TierSpec, adapter: str) -> bool:
    if tier.lora_config is None or not is_adapter_name(adapter):
        return False
    folder = _folder(tier)
    # A bucket, or a folder of another node: the tier will say.
    return folder is None or has_adapter(folder, adapter)


def _folder(tier: TierSpec) -> Path | None:
    """Where its adapters are, when this node can look there."""
    folder = resolve_source(tier.adapters_folder)
    return Path(folder) if isinstance(folder, str) and Path(folder).is_dir() else None


def _unknown(name: Any, config: AppConfig) -> UnknownModel:
    known = [tier.model_id for tier in config.llm_configs]
    known += [_AUTO, *(f"{_AUTO}:{slo_class}" for slo_class in config.slo_classes)]
    known += [f"{tier.model_id}:ADAPTER" for tier in config.llm_configs if tier.lora_config]
    return UnknownModel(
        f"The model {shown(name)} does not exist. The models are {', '.join(known)}.",
        param="model",
    )
