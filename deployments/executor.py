"""Which of vLLM's executors a CPU's model gets. Arguments in, a rule out; knows no Ray, no vLLM."""

from collections.abc import Mapping
from math import prod
from typing import Any

# By its name in full, because vLLM takes the short one, `uni`, for `mp` on CPUs.
IN_ONE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
_BINDING = "VLLM_CPU_OMP_THREADS_BIND"
_WAYS = ("tensor", "pipeline", "data")


def num_workers(engine_kwargs: Mapping[str, Any]) -> int:
    """Workers that share the model by vLLM's arguments.

    >>> num_workers({"tensor_parallel_size": 2, "pipeline_parallel_size": 2})
    4
    """
    return prod(int(engine_kwargs.get(f"{way}_parallel_size", 1)) for way in _WAYS)


def fits_one_process(num_workers: int, environment: Mapping[str, str]) -> bool:
    """Whether a CPU's model may run in the engine's own process.

    vLLM starts another one for it, which is how it binds threads to cores, and the two wait for
    each other by spinning. Where no core is free to spin on, that is taken from the model: on two
    cores with two tiers, replies came 1.8 times as fast without it. Not when several workers share
    the model, nor when the user binds threads to cores.
    """
    return num_workers == 1 and _BINDING not in environment
