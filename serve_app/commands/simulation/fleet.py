"""The simulated counterpart of a Serve file's tiers. A validated file in, a Setting out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deployments.spec import TierSpec
from serve_app.check.tier.capacity import accelerators_per_replica, min_replicas
from serve_app.check.tier.models import find_shape
from serve_app.check.tier.sizing import TierSize, size_tier
from serve_app.commands.serve_file import our_applications, read_serve_file
from serve_app.commands.simulation.options import prices_of
from serve_app.config import AppConfig, Objective, SloClass
from serve_app.routing.latency import LatencyProfile
from serve_app.routing.speed.accelerators import ACCELERATORS
from serve_app.routing.types import Slo
from serve_app.simulator.fleet.plans import Scaling
from serve_app.simulator.fleet.probe import measured
from serve_app.simulator.fleet.setting import AskedClass, Brain, Disturbances, Setting
from serve_app.simulator.fleet.tier import SimulatedTier
from serve_app.simulator.timing import EngineTiming, from_roofline

# vLLM's own defaults.
_MAX_NUM_SEQS = 256
_MAX_BATCHED_TOKENS = 2048
_FAKE_KV_TOKENS = 10_000_000
_COLD_START_S = 60.0
_UNMEASURED = LatencyProfile(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller wants other than the file says.

    class_names: equal shares of requests ask for each; the default class when there is none.
    misspecified: the router believes engines to take so many times as long as they do. prices: as
    `TIER=USD`.
    """

    class_names: Sequence[str] = ()
    misspecified: float = 1.0
    autoscales: bool = False
    prices: Sequence[str] = ()
    objective: Objective | None = None


def setting_of_file(path: Path, wishes: Wishes) -> Setting:
    """As `setting_of`, of the first application of Tandem in a Serve file."""
    applications = our_applications(read_serve_file(path).content)
    if not applications:
        raise ValueError(f"{str(path)!r} holds no application of Tandem.")
    return setting_of(AppConfig.model_validate(applications[0].get("args")), wishes)


def setting_of(config: AppConfig, wishes: Wishes) -> Setting:
    """Tiers with timings from published figures, and the classes that callers ask for.

    Raises:
        ValueError: a tier's engine cannot be simulated, or a class is unknown or has no e2e_ms.
    """
    tiers = [simulated(spec, autoscales=wishes.autoscales) for spec in config.llm_configs]
    prices = prices_of(wishes.prices)
    _require_known("--price", prices, tiers)
    default = config.routing.default_slo_class
    names = list(wishes.class_names) or ([default] if default else [])
    if not names:
        raise ValueError(
            "The file has no routing.default_slo_class: say with --slo-class which of "
            f"{', '.join(config.slo_classes)} callers ask for."
        )
    return Setting(
        tiers=tuple(
            replace(
                tier,
                profile=_slower(tier.profile, wishes.misspecified),
                usd_per_hour=prices.get(tier.tier, tier.usd_per_hour),
            )
            for tier in tiers
        ),
        classes=tuple(_asked(config, name, len(names)) for name in names),
        brain=Brain(
            wishes.objective or config.routing.objective,
            config.routing.default_output_tokens,
            config.admission.max_outstanding_s,
        ),
    )


def disturbed(setting: Setting, disturbances: Disturbances) -> Setting:
    """The setting with what disturbs it.

    Raises:
        ValueError: a failure names a tier that is not there.
    """
    _require_known("--fail", [failure.tier for failure in disturbances.failures], setting.tiers)
    return replace(setting, disturbances=disturbances)


def _require_known(option: str, names: Iterable[str], tiers: Sequence[SimulatedTier]) -> None:
    known = [tier.tier for tier in tiers]
    for name in names:
        if name not in known:
            raise ValueError(f"{option} names the tier {name!r}; the file has {', '.join(known)}.")


def simulated(spec: TierSpec, *, autoscales: bool = False) -> SimulatedTier:
    """One tier; its profile is what a start-up measurement of the simulated engine gives.

    Raises:
        ValueError: nothing is known of the model or the accelerator.
    """
    size = size_tier(spec)
    kwargs = spec.engine_kwargs
    timing = _fake_timing(spec) if spec.fake is not None else _timing(spec, size)
    max_num_seqs = spec.fake.max_num_seqs if spec.fake else kwargs.get("max_num_seqs")
    tier = SimulatedTier(
        tier=spec.model_id,
        timing=timing,
        profile=_UNMEASURED,
        quality=spec.routing.quality,
        usd_per_hour=spec.routing.usd_per_hour,
        context_tokens=size.context_tokens or _MAX_BATCHED_TOKENS,
        max_num_seqs=int(max_num_seqs or _MAX_NUM_SEQS),
        max_batched_tokens=int(kwargs.get("max_num_batched_tokens") or _MAX_BATCHED_TOKENS),
        kv_tokens=size.kv_tokens or _FAKE_KV_TOKENS,
        replicas=max(1, min_replicas(spec)),
        scaling=_scaling(spec) if autoscales else None,
    )
    return replace(tier, profile=measured(lambda: tier.replica(0)))


def _timing(spec: TierSpec, size: TierSize) -> EngineTiming:
    """From the published figures of model and accelerator, as `tandem check` finds them."""
    source = spec.model_loading_config.model_source or spec.model_id
    shape = find_shape(source, spec.engine_kwargs) if isinstance(source, str) else None
    if shape is None or size.unknown is not None or size.problem is not None:
        why = size.unknown or size.problem or f"nothing is known of the model {source!r}"
        raise ValueError(f"Tier {spec.model_id!r} cannot be simulated: {why}.")
    accelerator, count = ACCELERATORS[size.accelerator], accelerators_per_replica(spec)
    return from_roofline(
        weights_gb=shape.weights_bytes / 1e9,
        parameters=shape.parameters,
        kv_bytes_per_token=shape.kv_bytes_per_token,
        layers=shape.layers,
        hidden=shape.hidden,
        bandwidth_gb_s=accelerator.bandwidth_gb_s * count,
        tflops=accelerator.dense_fp16_tflops * count,
    )


def _fake_timing(spec: TierSpec) -> EngineTiming:
    fake = spec.fake
    assert fake is not None
    return EngineTiming(
        weights_s=fake.step_base_s,
        token_s=fake.prefill_per_token_s,
        sequence_s=fake.step_per_sequence_s,
        prefill_s=fake.prefill_base_s,
        log_noise=fake.noise,
    )


def _scaling(spec: TierSpec) -> Scaling | None:
    told: Any = spec.deployment_config.get("autoscaling_config")
    if not isinstance(told, dict):
        return None
    return Scaling(
        min_replicas=int(told.get("min_replicas", 1)),
        max_replicas=int(told.get("max_replicas", 1)),
        target_ongoing_requests=float(told.get("target_ongoing_requests", 2)),
        upscale_delay_s=float(told.get("upscale_delay_s", 30)),
        downscale_delay_s=float(told.get("downscale_delay_s", 600)),
        cold_start_s=_COLD_START_S,
    )


def _slower(profile: LatencyProfile, factor: float) -> LatencyProfile:
    return replace(
        profile,
        prefill_base_s=profile.prefill_base_s * factor,
        prefill_per_token_s=profile.prefill_per_token_s * factor,
        step_base_s=profile.step_base_s * factor,
        step_per_sequence_s=profile.step_per_sequence_s * factor,
    )


def _asked(config: AppConfig, name: str, count: int) -> AskedClass:
    slo_class: SloClass | None = config.slo_classes.get(name)
    if slo_class is None:
        raise ValueError(
            f"--slo-class {name!r} is none of the file's slo_classes {sorted(config.slo_classes)}."
        )
    if slo_class.e2e_ms is None:
        raise ValueError(f"--slo-class {name!r} has no e2e_ms, which is what is scored.")
    slo = Slo(
        slo_class.e2e_ms, slo_class.ttft_ms, slo_class.tpot_ms, slo_class.attainment,
        slo_class.on_infeasible, source="class",
    )  # fmt: skip
    return AskedClass(
        name, slo, slo_class.expected_output_tokens, slo_class.max_share, share=1 / count
    )
