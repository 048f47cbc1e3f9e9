"""Schema of the application's `args`: a superset of `ray.serve.llm:build_openai_app`'s."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from deployments.spec import Strict, TierSpec
from serve_app.access.settings import AuthConfig, InputConfig, require_safe_weights
from serve_app.storage.locations import open_storage

OnInfeasible = Literal["degrade", "fit", "queue", "reject"]
Chain = tuple[OnInfeasible, ...]
Objective = Literal["best_quality_within_slo", "cheapest_within_slo"]


def as_chain(value: Any) -> Any:
    """One step of `on_infeasible` is a chain of one."""
    return (value,) if isinstance(value, str) else value


class SloClass(Strict):
    """A named service level objective that a caller asks for as `auto:<name>`."""

    e2e_ms: float | None = Field(
        None, gt=0, description="Whole reply, from arrival to last byte, in milliseconds."
    )
    ttft_ms: float | None = Field(None, gt=0, description="First token, in milliseconds.")
    tpot_ms: float | None = Field(
        None, gt=0, description="Each later output token, in milliseconds."
    )
    attainment: float = Field(
        0.95, gt=0, lt=1, description="Share of requests that must meet the objective."
    )
    expected_output_tokens: int | None = Field(
        None, ge=1, description="Usual length of a reply; learned when left out."
    )
    on_infeasible: Chain = Field(
        ("degrade",),
        min_length=1,
        description="What to try when no tier can meet it now, one or a list in order: `queue` "
        "waits while that can help, `fit` shortens max_tokens, `degrade` serves on the likeliest "
        "tier, `reject` says so.",
    )
    max_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Most of a tier's decode slots that this class may hold, so that it cannot "
        "starve the others. A router counts its own requests: divide by their number.",
    )
    insured: bool = Field(
        False,
        description="When a better tier will only probably make it, run it beside the safe one "
        "and take its reply if it is in time. Unstreamed only; see routing.insurance_budget.",
    )

    @field_validator("on_infeasible", mode="before")
    @classmethod
    def _chain(cls, value: Any) -> Any:
        return as_chain(value)


class RoutingConfig(Strict):
    """How a tier is chosen."""

    objective: Objective = Field(
        "best_quality_within_slo", description="What to maximize among tiers that meet the SLO."
    )
    default_slo_class: str | None = Field(
        None, description="Class of requests that name no objective; none: best quality, no limit."
    )
    default_output_tokens: int = Field(
        256, ge=1, description="Length of a reply before anything was learned, in tokens."
    )
    insurance_budget: float = Field(
        0.05, ge=0, le=1, description="Most requests, as a share of all, that run on two tiers."
    )
    keeps_state: bool = Field(True, description="Keep what was learned across restarts.")
    state: str | None = Field(
        None,
        description="Where: a file or `s3://bucket/key`; `learned/<application>.json` in "
        "$TANDEM_HOME (~/.cache/tandem) when left out. With several routers the last to save wins.",
    )
    state_every_s: float = Field(60.0, gt=0, description="Seconds between two saves of it.")

    @field_validator("state")
    @classmethod
    def _is_storage(cls, state: str | None) -> str | None:
        if state is not None:
            open_storage(state)
        return state


class AdmissionConfig(Strict):
    """What is refused before it costs anything."""

    max_body_bytes: int = Field(2_000_000, ge=1024, description="Largest request body.")
    max_outstanding_s: float = Field(
        60.0, gt=0, description="Most predicted work ahead of a request with no SLO, in seconds."
    )
    max_queued: int = Field(
        1000, ge=0, description="Most requests that wait in one router (`on_infeasible: queue`)."
    )
    max_deadline_s: float = Field(
        600.0, gt=0, description="Hard deadline of requests that bring none, in seconds."
    )


Fallbacks = dict[str, tuple[str, ...]]


class ResilienceConfig(Strict):
    """What happens when a tier fails. The first four keys are LiteLLM's."""

    fallbacks: Fallbacks = Field(
        default_factory=dict,
        description="Tiers to try, in order, when one fails: `[{large: [small]}]`. Left out, a "
        "request that names no tier goes to whichever of the others suits it best, one that "
        "names its tier to no other.",
    )
    context_window_fallbacks: Fallbacks = Field(
        default_factory=dict,
        description="Tiers to try, in order, when a prompt is too long for the tier it names.",
    )
    allowed_fails: int = Field(
        3, ge=0, description="Failures in a row after which a tier gets no requests for a while."
    )
    cooldown_time: float = Field(
        5.0, gt=0, description="That while, in seconds; then one request probes the tier."
    )
    num_retries: int = Field(
        3, ge=0, description="Most times that one request is tried again, all tiers together."
    )
    retry_budget: float = Field(
        0.1, ge=0, le=1, description="Retries per request in the long run; 0 retries nothing."
    )
    stalled_after_s: float = Field(
        30.0,
        gt=0,
        description="Silence, beyond what was predicted, after which a reply is tried elsewhere.",
    )
    recovery_s: float = Field(
        30.0,
        ge=0,
        description="How long a request waits for a tier to come back when none is running.",
    )
    quarantine_s: float = Field(
        600.0, ge=0, description="How long a request that killed two engines is refused."
    )

    @field_validator("fallbacks", "context_window_fallbacks", mode="before")
    @classmethod
    def _joined(cls, value: Any) -> Any:
        """LiteLLM's list of mappings as one mapping."""
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            return value
        return {tier: others for entry in value for tier, others in entry.items()}


class ScalingConfig(Strict):
    """How many replicas tiers with an `autoscaling_config` have; bounds and delays are there."""

    by: Literal["router-signal", "ongoing-requests"] = Field(
        "router-signal",
        description="What is followed: who wants a tier, served or not, or Ray Serve's count of "
        "ongoing requests.",
    )
    target_fill: float = Field(
        0.8, gt=0, le=1, description="Share of what fits on a replica that it should carry."
    )
    memory_s: float = Field(10.0, gt=0, description="How fast a changed load is believed.")
    cold_start_s: float = Field(
        60.0, ge=0, description="Seconds that a replica takes to start, until one was seen to."
    )
    hold_s: float = Field(
        120.0,
        ge=0,
        description="How long a request waits for a tier with no replica that it names.",
    )
    accelerators: int | None = Field(
        None, ge=1, description="Most accelerators that these tiers use together; none: no limit."
    )


class TelemetryConfig(Strict):
    """What is recorded."""

    access_log: bool = Field(True, description="One structured line per request, no prompt text.")
    log_text: bool = Field(
        False, description="Put prompt and reply text into traces. Off: it never leaves the engine."
    )
    decisions_kept: int = Field(
        1_000,
        ge=0,
        description="Decisions that /v1/router/decisions/{id} explains in full; of older ones it "
        "gives the decision log's entry.",
    )
    decision_log: bool = Field(
        True, description="Keep one line per ended request on disk, no prompt text."
    )
    decision_log_folder: str | None = Field(
        None, description="Its folder; `decisions` in $TANDEM_HOME (~/.cache/tandem) when left out."
    )
    decision_log_file_mb: int = Field(32, ge=1, description="Size of one of its files, in MB.")
    decision_log_files: int = Field(8, ge=1, description="Files that each router replica keeps.")


class AppConfig(Strict):
    """The `args` block of the Serve application."""

    llm_configs: list[TierSpec] = Field(
        min_length=1, description="The tiers: entries, or paths of YAML files with one each."
    )
    slo_classes: dict[str, SloClass] = Field(
        default_factory=dict, description="Named objectives, asked for as `auto:<name>`."
    )
    routing: RoutingConfig = Field(default_factory=RoutingConfig, description="The choice.")
    admission: AdmissionConfig = Field(default_factory=AdmissionConfig, description="The limits.")
    resilience: ResilienceConfig = Field(
        default_factory=ResilienceConfig, description="Retries, fallbacks, breakers."
    )
    scaling: ScalingConfig = Field(
        default_factory=ScalingConfig, description="Replicas that come and go with the load."
    )
    auth: AuthConfig = Field(default_factory=AuthConfig, description="API keys.")
    input: InputConfig = Field(
        default_factory=InputConfig, description="What a request may contain."
    )
    telemetry: TelemetryConfig = Field(default_factory=TelemetryConfig, description="The records.")
    ingress_deployment_config: dict[str, Any] = Field(
        default_factory=dict, description="Ray Serve deployment options of the router itself."
    )
    ingress_cls_config: None = Field(
        None, description="Reserved: the ingress is Tandem's own; remove the key."
    )

    @field_validator("llm_configs", mode="before")
    @classmethod
    def _read_files(cls, entries: Any) -> Any:
        if not isinstance(entries, list):
            return entries
        return [read_tier_file(entry) if isinstance(entry, str) else entry for entry in entries]

    @field_validator("llm_configs")
    @classmethod
    def _are_safe(cls, tiers: list[TierSpec]) -> list[TierSpec]:
        for tier in tiers:
            require_safe_weights(tier.model_id, tier.engine_kwargs)
        return tiers

    @model_validator(mode="after")
    def _names_agree(self) -> "AppConfig":
        ids = [tier.model_id for tier in self.llm_configs]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"llm_configs: model_id {twice} is used more than once")
        reserved = [name for name in ids if name == "auto" or name.startswith("auto:")]
        if reserved:
            raise ValueError(f"llm_configs: model_id {reserved} is reserved for the router")
        default = self.routing.default_slo_class
        if default is not None and default not in self.slo_classes:
            raise ValueError(
                f"routing.default_slo_class: {default!r} is not one of the slo_classes "
                f"{sorted(self.slo_classes)}"
            )
        for key in ("fallbacks", "context_window_fallbacks"):
            named = getattr(self.resilience, key)
            unknown = sorted({*named, *(t for tiers in named.values() for t in tiers)} - {*ids})
            if unknown:
                raise ValueError(f"resilience.{key}: {unknown} are not tiers; they are {ids}")
        return self


def read_tier_file(path: str) -> Any:
    """Reads one tier from a YAML file, as Ray Serve LLM's `llm_configs: [path]` does.

    Raises:
        ValueError: when the file does not exist.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"llm_configs: the file {path!r} does not exist")
    return yaml.safe_load(file.read_text())
