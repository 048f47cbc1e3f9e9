"""A script: turns one GGUF file into a bf16 safetensors folder that vLLM and transformers load.

Run as `python deployments/weights/convert.py FILE.gguf TARGET`, in a process of its own: torch and
transformers cost seconds and hundreds of megabytes that its caller should not carry.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

# ChatML without the default system prompt of the original. This small a model, taken from 4-bit
# weights, is undecided after it: asked for a capital, "The" leads a French "L" by 17 to 13 per
# cent, and rounding picks the language. Without it the lead is 53 to 10.
CHAT_TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def convert(gguf: Path, target: Path) -> None:
    """Writes weights, both configs and the tokenizer of `gguf` into the folder `target`."""
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    ).to(torch.bfloat16)
    # The weights are plain now; a remark about GGUF would make loaders look for packed ones.
    # Some releases of transformers remove it themselves.
    vars(model.config).pop("quantization_config", None)
    model.save_pretrained(target)
    save_tokenizer(gguf, target)


def save_tokenizer(gguf: Path, target: Path) -> None:
    """Saves the tokenizer and its chat template under a class name that old readers know too."""
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(target)
    config = target / "tokenizer_config.json"
    # transformers 5 writes `TokenizersBackend`, which transformers 4 cannot read; both read this.
    settings = json.loads(config.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    config.write_text(json.dumps(settings, indent=2) + "\n")


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
