"""Keeps the vLLM scheduler's last numbers, and tells a replica's load by them.

vLLM loads it by the `vllm.stat_logger_plugins` entry point, which is its public way to be told
them; the module is imported only where vLLM runs.
"""

import time
from typing import Any, ClassVar

from vllm.v1.metrics.loggers import StatLoggerBase

from deployments.messages import Load
from deployments.work import WorkInHand

_FORGETTING = 0.95


class EngineStats(StatLoggerBase):  # type: ignore[misc]
    """Scheduler numbers after the latest step.

    There is one engine per replica process, so the newest instance is that engine's.
    """

    latest: ClassVar["EngineStats | None"] = None

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        self.running = 0
        self.waiting = 0
        self.kv_usage = 0.0
        self.num_steps = 0
        self._prompt_tokens = 0.0
        self._cached_tokens = 0.0
        EngineStats.latest = self

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        self.num_steps += 1
        if scheduler_stats is None:
            return
        self.running = scheduler_stats.num_running_reqs
        self.waiting = scheduler_stats.num_waiting_reqs
        self.kv_usage = scheduler_stats.kv_cache_usage
        seen = scheduler_stats.prefix_cache_stats
        if seen is not None and seen.queries:
            self._prompt_tokens = self._prompt_tokens * _FORGETTING + seen.queries
            self._cached_tokens = self._cached_tokens * _FORGETTING + seen.hits

    @classmethod
    def steps(cls) -> int:
        """Steps since the engine started, 0 before the first one."""
        return cls.latest.num_steps if cls.latest is not None else 0

    @classmethod
    def prefix_hit_rate(cls) -> float:
        """Share of prompt tokens that the prefix cache held, over the last requests or so."""
        latest = cls.latest
        if latest is None or not latest._prompt_tokens:
            return 0.0
        return latest._cached_tokens / latest._prompt_tokens

    def log_engine_initialized(self) -> None:
        """Nothing to announce."""


def engine_load(replica: str, client: Any, in_hand: WorkInHand) -> Load:
    """The replica's load now; waiting and running as of the engine's latest step.

    Args:
        client: vLLM's engine client.
    """
    unfinished = int(client.get_num_unfinished_requests())
    stats = EngineStats.latest
    running = stats.running if stats else unfinished
    return {
        "replica": replica,
        # Never corrected by ours: it is how a test sees that an abort reached the engine.
        "running": running,
        # The scheduler's numbers are a step old; what was handed in since then waits.
        "waiting": max(stats.waiting, unfinished - running) if stats else 0,
        "queued_tokens": int(client.get_num_queued_tokens()),
        "kv_usage": stats.kv_usage if stats else 0.0,
        "work_s": in_hand.left_s(time.monotonic()),
        "prefix_hit_rate": EngineStats.prefix_hit_rate(),
    }
