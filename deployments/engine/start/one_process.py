"""Ray Serve LLM's engine, with a CPU's model in the engine's own process."""

import os
from typing import Any

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from vllm.platforms import current_platform

from deployments.executor import fits_one_process


class OneProcessEngine(VLLMEngine):  # type: ignore[misc]
    """On a CPU the model runs in the engine's process where it can; on a GPU nothing is changed."""

    def _start_async_llm_engine(
        self, vllm_engine_args: Any, vllm_engine_config: Any, placement_group: Any
    ) -> Any:
        parallel = vllm_engine_config.parallel_config
        if current_platform.is_cpu() and fits_one_process(
            parallel.world_size_across_dp, os.environ
        ):
            parallel.distributed_executor_backend = "uni"
        return super()._start_async_llm_engine(
            vllm_engine_args, vllm_engine_config, placement_group
        )
