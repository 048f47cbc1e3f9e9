"""Ray Serve LLM's engine, put right for a CPU; on a GPU nothing is changed."""

import os
from typing import Any

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from vllm.platforms import current_platform

from deployments.executor import fits_one_process

_BASE_ROWS = "deployments.engine.start.base_rows.BaseRows"


class CpuEngine(VLLMEngine):  # type: ignore[misc]
    """The model runs in the engine's process where it can, and adapters keep to their own rows."""

    def _start_async_llm_engine(
        self, vllm_engine_args: Any, vllm_engine_config: Any, placement_group: Any
    ) -> Any:
        if current_platform.is_cpu():
            parallel = vllm_engine_config.parallel_config
            if fits_one_process(parallel.world_size_across_dp, os.environ):
                parallel.distributed_executor_backend = "uni"
            if vllm_engine_config.lora_config is not None:
                _keep_base_rows(parallel)
        return super()._start_async_llm_engine(
            vllm_engine_args, vllm_engine_config, placement_group
        )


def _keep_base_rows(parallel: Any) -> None:
    """
    Raises:
        ValueError: the file names an extension of its own.
    """
    if parallel.worker_extension_cls:
        raise ValueError(
            f"engine_kwargs.worker_extension_cls: {parallel.worker_extension_cls!r}: a tier with "
            "adapters on a CPU needs this place for Tandem's own; remove it, or the adapters"
        )
    parallel.worker_extension_cls = _BASE_ROWS
