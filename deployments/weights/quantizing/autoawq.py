"""A script: makes an AWQ checkpoint in AutoAWQ's own format.

Run as `python deployments/weights/quantizing/autoawq.py MODEL TARGET TEXT PLAN` by the Python of
an environment made from requirements/autoawq.txt. MODEL is a folder whose config transformers 4.51
reads: see `old_config`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from awq import AutoAWQForCausalLM
from awq.quantize.quantizer import AwqQuantizer
from transformers import AutoConfig, AutoTokenizer

# Of the calibration tokens, those that the search for clipping looks at; 512 take a CPU minutes.
_CLIPPING_TOKENS_ON_CPU = 64


class CpuQuantizer(AwqQuantizer):  # type: ignore[misc]
    """AutoAWQ 0.2.9 without its error on CPUs, where it spoils the weights that it searches with.

    It remembers a layer by `state_dict()` and `.cpu()`, multiplies the weights in place, and puts
    back what it remembers. On a GPU `.cpu()` copies; on a CPU it is the same memory, so the scales
    of the first try stay in the weights, and the model writes nonsense.
    """

    def _compute_best_scale(
        self, x: Any, w_mean: Any, x_mean: Any, module2inspect: Any, *rest: Any, **options: Any
    ) -> Any:
        shared = module2inspect.state_dict
        module2inspect.state_dict = lambda: {k: v.clone() for k, v in shared().items()}
        try:
            return super()._compute_best_scale(x, w_mean, x_mean, module2inspect, *rest, **options)
        finally:
            del module2inspect.state_dict

    def _compute_best_clip(self, w: Any, input_feat: Any, **options: Any) -> Any:
        options["n_sample_token"] = _CLIPPING_TOKENS_ON_CPU
        return super()._compute_best_clip(w, input_feat, **options)


def quantize(source: Path, target: Path, texts: list[str], plan: dict[str, Any]) -> None:
    """Writes weights and config of the 4-bit `source` into `target`; see `plan.Plan`."""
    has_gpu = torch.cuda.is_available()
    model = AutoAWQForCausalLM.from_pretrained(
        str(source),
        device_map="cuda" if has_gpu else "cpu",
        # Half precision is several times slower on CPUs.
        torch_dtype="auto" if has_gpu else torch.float32,
        use_cache=False,
    )
    tokenizer = AutoTokenizer.from_pretrained(source)
    samples = [tokenizer.encode(text)[: plan["sample_tokens"]] for text in texts]
    model.quantize(
        tokenizer,
        quant_config={
            "zero_point": True, "version": "GEMM",
            "q_group_size": plan["group_size"], "w_bit": plan["bits"],
        },
        calib_data=samples,
        max_calib_samples=len(samples),
        # It joins the samples and cuts them into blocks of this length; a rest is dropped.
        max_calib_seq_len=min(plan["sample_tokens"], sum(map(len, samples))),
        quantizer_cls=AwqQuantizer if has_gpu else CpuQuantizer,
    )  # fmt: skip
    # What stayed unquantized goes back to the width that it came in.
    dtype = AutoConfig.from_pretrained(source).torch_dtype
    model.model.to(dtype)
    model.model.config.torch_dtype = dtype
    model.save_quantized(str(target))


if __name__ == "__main__":
    model_folder, target_folder, texts_file, options = sys.argv[1:]
    quantize(
        Path(model_folder), Path(target_folder), json.loads(Path(texts_file).read_text()),
        json.loads(options),
    )  # fmt: skip
