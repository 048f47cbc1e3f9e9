"""Model folders as small as they can be: headers without weights."""

import json
from pathlib import Path
from typing import Any


def a_model_folder(folder: Path, config: dict[str, Any] | None = None) -> Path:
    """One attention layer of 576 by 576, an MLP input of 1536, and an embedding of 100 by 576."""
    shapes = {
        "model.embed_tokens.weight": [100, 576],
        "model.layers.0.self_attn.q_proj.weight": [576, 576],
        "model.layers.0.mlp.down_proj.weight": [576, 1536],
        "model.norm.weight": [576],
    }
    header = {name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}
              for name, shape in shapes.items()}  # fmt: skip
    raw = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw)
    (folder / "config.json").write_text(json.dumps(config or {"model_type": "llama"}))
    return folder


def an_adapter(folder: Path, name: str, **changes: Any) -> Path:
    """An adapter's folder as peft saves it, with empty weights."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8} | changes))
    (path / "adapter_model.safetensors").write_bytes(b"")
    return path
