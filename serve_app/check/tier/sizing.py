"""Does a tier fit its accelerators, and how fast is it when idle? Config in, verdicts out.

Figures come from published data, not from a run: `serve_app.routing.speed.prior` says how far off.
"""

from dataclasses import dataclass

from deployments.spec import TierSpec
from serve_app.check.tier.capacity import accelerators_per_replica
from serve_app.check.tier.models import find_shape
from serve_app.config import AppConfig, SloClass
from serve_app.routing.assess import assess
from serve_app.routing.candidate import Candidate
from serve_app.routing.latency import IDLE, LatencyProfile
from serve_app.routing.learning.calibration import Calibrator
from serve_app.routing.lengths.output import OutputLengths
from serve_app.routing.live.prices import ShadowPrice
from serve_app.routing.speed.accelerators import ACCELERATORS, Accelerator
from serve_app.routing.speed.prior import ModelShape, prior_profile
from serve_app.routing.types import RoutingRequest, Slo, TierView

# The founding case: 512 prompt tokens, 313 reply tokens.
SEQUENCE_TOKENS = 825
PROMPT_TOKENS = 512
# vLLM's own default, and what its graphs, activations and the CUDA context take beside weights.
_GPU_MEMORY_UTILIZATION = 0.92
_RESERVED_BYTES = 1.5e9
_DEFAULT_MAX_NUM_SEQS = 256


@dataclass(frozen=True, slots=True)
class TierSize:
    """One tier against its accelerators; bytes are per accelerator.

    unknown: why nothing can be said, or None. profile: the idle speed; None with `unknown`.
    """

    tier: str
    accelerator: str
    accelerators: int
    weights_bytes: float | None = None
    kv_bytes: float | None = None
    kv_bytes_per_token: float | None = None
    context_tokens: int | None = None
    profile: LatencyProfile | None = None
    unknown: str | None = None

    @property
    def kv_tokens(self) -> int | None:
        if self.kv_bytes is None or not self.kv_bytes_per_token:
            return None
        return max(0, int(self.kv_bytes / self.kv_bytes_per_token))

    @property
    def sequences(self) -> int | None:
        return None if self.kv_tokens is None else self.kv_tokens // SEQUENCE_TOKENS

    @property
    def problem(self) -> str | None:
        """Why the engine would not start, or None."""
        if self.kv_bytes is None or self.weights_bytes is None or self.kv_tokens is None:
            return None
        share = f"{self.weights_bytes / 1e9:.1f} GB of weights on each of {self.accelerators}"
        if self.kv_bytes <= 0:
            return (
                f"{share} {self.accelerator} leave no memory for the KV cache; use more "
                "accelerators (tensor_parallel_size), larger ones, or quantized weights"
            )
        if self.context_tokens is not None and self.kv_tokens < self.context_tokens:
            return (
                f"{share} {self.accelerator} leave room for {self.kv_tokens} tokens of KV cache, "
                f"less than one sequence of max_model_len {self.context_tokens}; lower it"
            )
        return None


@dataclass(frozen=True, slots=True)
class ClassVerdict:
    """One class on one idle tier. smallest_e2e_s: deadline met with the class's attainment."""

    slo_class: str
    tier: str
    candidate: Candidate

    @property
    def is_feasible(self) -> bool:
        return self.candidate.is_feasible


def size_tier(tier: TierSpec) -> TierSize:
    """Memory and idle speed of one tier's replica."""
    count, name = accelerators_per_replica(tier), tier.routing.accelerator
    if tier.fake is not None:
        return TierSize(
            tier.model_id, "fake", 0, context_tokens=tier.fake.context_tokens,
            profile=LatencyProfile(
                tier.fake.prefill_base_s, tier.fake.prefill_per_token_s,
                tier.fake.step_base_s, tier.fake.step_per_sequence_s,
            ),
        )  # fmt: skip
    if name is None or name not in ACCELERATORS:
        why = f"routing.accelerator is {name!r}, none of {', '.join(ACCELERATORS)}"
        return TierSize(tier.model_id, name or "?", count, unknown=why)
    source = tier.model_loading_config.model_source or tier.model_id
    shape = find_shape(source, tier.engine_kwargs) if isinstance(source, str) else None
    if shape is None:
        why = f"nothing is known of the model {source!r}: no local folder, no name in the table"
        return TierSize(tier.model_id, name, count, unknown=why)
    return _size(tier, shape, ACCELERATORS[name], count)


def _size(tier: TierSpec, shape: ModelShape, accelerator: Accelerator, count: int) -> TierSize:
    weights_bytes = shape.weights_bytes / count
    utilization = _number(tier, "gpu_memory_utilization") or _GPU_MEMORY_UTILIZATION
    budget = accelerator.memory_gb * 1e9 * utilization
    is_half = str(tier.engine_kwargs.get("kv_cache_dtype", "auto")).startswith("fp8")
    # KV heads are split over the accelerators until each has one; then they are copied.
    split = min(count, shape.kv_heads)
    env = (tier.runtime_env or {}).get("env_vars") or {}
    kv_bytes = budget - weights_bytes - _RESERVED_BYTES
    if "VLLM_CPU_KVCACHE_SPACE" in env and accelerator.name == "CPU":
        kv_bytes = float(env["VLLM_CPU_KVCACHE_SPACE"]) * 2**30
    return TierSize(
        tier.model_id,
        accelerator.name,
        count,
        weights_bytes=weights_bytes,
        kv_bytes=kv_bytes,
        kv_bytes_per_token=shape.kv_bytes_per_token / split / (2 if is_half else 1),
        context_tokens=int(_number(tier, "max_model_len") or shape.context_tokens),
        profile=prior_profile(shape, accelerator, count),
    )


def idle_view(tier: TierSpec, size: TierSize, *, default_output_tokens: int) -> TierView | None:
    """The tier as the router would see it: idle, and as sure of itself as after a measurement."""
    if size.profile is None or size.context_tokens is None:
        return None
    return TierView(
        tier=tier.model_id,
        quality=tier.routing.quality,
        usd_per_hour=tier.routing.usd_per_hour,
        context_tokens=size.context_tokens,
        max_num_seqs=_max_num_seqs(tier),
        profile=size.profile,
        load=IDLE,
        lengths=OutputLengths(default_output_tokens),
        calibrator=Calibrator(is_measured=True),
        price=ShadowPrice(),
        min_prompt_tokens=tier.routing.min_prompt_tokens,
        max_prompt_tokens=tier.routing.max_prompt_tokens,
    )


def _max_num_seqs(tier: TierSpec) -> int:
    if tier.fake is not None:
        return tier.fake.max_num_seqs
    return int(_number(tier, "max_num_seqs") or _DEFAULT_MAX_NUM_SEQS)


def _number(tier: TierSpec, name: str) -> float | None:
    """An engine argument; None when it is left out or no number, which vLLM will say better."""
    value = tier.engine_kwargs.get(name)
    return value if isinstance(value, int | float) else None


def judge_classes(config: AppConfig, sizes: list[TierSize]) -> list[ClassVerdict]:
    """Each class on each tier whose speed is known, by the router's own `assess`."""
    views = [
        idle_view(tier, size, default_output_tokens=config.routing.default_output_tokens)
        for tier, size in zip(config.llm_configs, sizes, strict=True)
    ]
    objective = config.routing.objective
    return [
        ClassVerdict(
            name, view.tier, assess(_request(slo_class, view.tier, config), view, objective)
        )
        for name, slo_class in config.slo_classes.items()
        for view in views if view is not None
    ]  # fmt: skip


def _request(slo_class: SloClass, tier: str, config: AppConfig) -> RoutingRequest:
    """A usual request of the class, its reply exactly as long as expected."""
    tokens = slo_class.expected_output_tokens or config.routing.default_output_tokens
    return RoutingRequest(
        prompt_tokens={tier: PROMPT_TOKENS},
        slo=Slo(slo_class.e2e_ms, slo_class.ttft_ms, slo_class.tpot_ms, slo_class.attainment),
        max_tokens=tokens,
        is_length_fixed=True,
    )
