"""What a running vLLM engine says of itself: engine and configuration in, TierFacts out."""

import hashlib
import json
import os
import platform
from typing import Any

from deployments.engine.speed.profiles import stored
from deployments.messages import TierFacts


def engine_facts(llm_config: Any, client: Any) -> TierFacts:
    """Facts of one replica; its profile is that of an earlier start, or None.

    Args:
        llm_config: Ray Serve LLM's `LLMConfig`. client: vLLM's engine client.
    """
    config = client.vllm_config
    fingerprint = _fingerprint(llm_config, config)
    tokenizer = client.get_tokenizer()
    template = llm_config.engine_kwargs.get("chat_template") or tokenizer.chat_template
    return {
        "model_id": llm_config.model_id,
        "context_tokens": config.model_config.max_model_len,
        "max_num_seqs": config.scheduler_config.max_num_seqs,
        "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
        "tokenizer_json": tokenizer.backend_tokenizer.to_str().encode(),
        "chat_template": template,
        "special_tokens": {
            name: text
            for name, text in tokenizer.special_tokens_map.items()
            if isinstance(text, str)
        },
        "profile": stored(fingerprint),
        "fingerprint": fingerprint,
        "engine": f"vllm {_vllm_version()}",
    }


def _fingerprint(llm_config: Any, vllm_config: Any) -> str:
    """Names engine, model and machine: another one of any means another speed."""
    parts = [
        _vllm_version(),
        str(vllm_config.model_config.model),
        str(vllm_config.model_config.hf_config),
        json.dumps(llm_config.engine_kwargs, sort_keys=True, default=str),
        _machine(),
        str(vllm_config.parallel_config.distributed_executor_backend),
        *(os.environ.get(name, "") for name in ("VLLM_CPU_OMP_THREADS_BIND", "OMP_NUM_THREADS")),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _vllm_version() -> str:
    import vllm

    return str(vllm.__version__)


def _machine() -> str:
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"{platform.processor() or platform.machine()} {os.cpu_count()}"
