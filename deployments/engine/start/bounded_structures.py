"""Ray Serve LLM's engine, whose steps a caller's pattern, schema or grammar cannot hold up."""

import os
from typing import Any

from deployments.engine.start.cpu import CpuEngine

_STRICT_TOOLS = "VLLM_ENFORCE_STRICT_TOOL_CALLING"


class BoundedStructuresEngine(CpuEngine):
    """Structured output is guidance's work, unless `structured_outputs_config` names a backend.

    vLLM's own first choice takes pathological patterns, compiles them at once, and then looks for
    the tokens that fit, between two steps of all requests: for `((a+)+)+`, minutes long. Guidance
    counts what it spends and gives up (`tests/slow/test_hostile_structures.py`). It knows no
    structural tags of the newer form, which vLLM makes of tools; without them tools are schemas.
    """

    def _start_async_llm_engine(
        self, vllm_engine_args: Any, vllm_engine_config: Any, placement_group: Any
    ) -> Any:
        structures = vllm_engine_config.structured_outputs_config
        if structures.backend == "auto":
            structures.backend = "guidance"
            os.environ.setdefault(_STRICT_TOOLS, "0")
        return super()._start_async_llm_engine(
            vllm_engine_args, vllm_engine_config, placement_group
        )
