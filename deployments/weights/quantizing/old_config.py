"""A model folder as transformers 4 reads it. A folder in; links to its files and a new config out.

transformers 5 writes `rope_parameters` and `dtype`. Release 4.51, which AutoAWQ needs, ignores
both in silence: it falls back to a rope_theta of 10000 and so to another model.
"""

import json
from pathlib import Path
from typing import Any


def link_for_transformers_4(source: Path, target: Path) -> None:
    """Fills the empty folder `target` with links to the files of `source` and its config."""
    for file in source.iterdir():
        if file.is_file() and file.name != "config.json":
            (target / file.name).symlink_to(file.resolve())
    config = json.loads((source / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(for_transformers_4(config), indent=2) + "\n")


def for_transformers_4(config: dict[str, Any]) -> dict[str, Any]:
    """The config under its old names.

    >>> for_transformers_4({"rope_parameters": {"rope_theta": 1e5, "rope_type": "default"}})
    {'rope_theta': 100000.0}

    Raises:
        ValueError: when its layers have different rotary embeddings, which 4.51 cannot say.
    """
    old = {k: v for k, v in config.items() if k not in ("rope_parameters", "dtype")}
    if config.get("dtype") is not None:
        old["torch_dtype"] = config["dtype"]
    rope = dict(config.get("rope_parameters") or {})
    if any(isinstance(value, dict) for value in rope.values()):
        raise ValueError(
            "this model has another rotary embedding per kind of layer, which AutoAWQ's "
            "transformers 4.51 cannot read; take --backend llm-compressor"
        )
    if "rope_theta" in rope:
        old["rope_theta"] = rope.pop("rope_theta")
    if rope.get("rope_type", "default") != "default":
        old["rope_scaling"] = rope
    return old
