"""4-bit weights, an adapter, an 8-bit KV cache, prefix caching and drafts, all in one engine."""

from pathlib import Path

import httpx

from deployments.local_models import prepare
from tests.adapters import TIER, one_tier, train
from tests.serving import serving

ANSWER = "Ahoy, I am the harbour master."


def test_what_speeds_up_alone_works_together(tmp_path: Path) -> None:
    # Given the 4-bit twin with an adapter that was trained on the 16-bit model
    prepare([f"{TIER}-awq"], print)
    train(tmp_path, {"harbour": ANSWER})
    args = one_tier(tmp_path, places=2)
    tier = args["llm_configs"][0]
    tier["model_loading_config"]["model_source"] = f"embedded:{TIER}-awq"
    tier["engine_kwargs"] |= {
        "kv_cache_dtype": "fp8",
        "enable_prefix_caching": True,
        "speculative_config": {
            "method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4,
        },
    }  # fmt: skip

    # When both are asked, twice, so that the second time the prefix is cached
    question = [{"role": "user", "content": "What is the capital of France?"}]
    with serving(args, patience_s=600.0) as address:
        said = {
            model: [
                httpx.post(
                    f"{address}/v1/chat/completions", timeout=600.0,
                    json={"model": model, "messages": question, "max_tokens": 16,
                          "temperature": 0},
                ).json()["choices"][0]["message"]["content"]
                for _ in range(2)
            ]
            for model in (TIER, f"{TIER}:harbour")
        }  # fmt: skip

    # Then each says what it says without them
    assert all("Paris" in text for text in said[TIER])
    assert said[f"{TIER}:harbour"] == [ANSWER, ANSWER]
