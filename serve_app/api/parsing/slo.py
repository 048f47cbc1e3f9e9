"""What objective a request has, from the five places it can come from. Dicts in, Slo out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field, ValidationError, field_validator

from deployments.spec import Strict
from serve_app.api.parsing.fields import shown
from serve_app.config import AppConfig, Chain, SloClass, as_chain
from serve_app.errors import InvalidRequest, UnknownModel
from serve_app.routing.types import Slo

_SDK_DEFAULT_TIMEOUT_S = 600.0
_HEADERS = {
    "e2e_ms": ("x-slo-e2e-ms",),
    "ttft_ms": ("x-llm-d-slo-ttft-ms", "x-slo-ttft-ms"),
    "tpot_ms": ("x-llm-d-slo-tpot-ms", "x-slo-tpot-ms"),
}


class SloBody(Strict):
    """The `slo` object of a request body; it never reaches the engine."""

    e2e_ms: float | None = Field(None, gt=0, allow_inf_nan=False)
    ttft_ms: float | None = Field(None, gt=0, allow_inf_nan=False)
    tpot_ms: float | None = Field(None, gt=0, allow_inf_nan=False)
    attainment: float | None = Field(None, gt=0, lt=1)
    expected_output_tokens: int | None = Field(None, ge=1)
    on_infeasible: Chain | None = Field(None, min_length=1)

    @field_validator("on_infeasible", mode="before")
    @classmethod
    def _chain(cls, value: Any) -> Any:
        return as_chain(value)


@dataclass(frozen=True, slots=True)
class Objective:
    """A resolved objective. warnings: header values that were ignored, and why."""

    slo: Slo
    slo_class: str | None
    max_share: float
    expected_output_tokens: int | None
    deadline_s: float
    warnings: tuple[str, ...] = ()


def resolve(
    body_slo: Any, headers: Mapping[str, str], class_name: str | None, config: AppConfig,
    *, is_streamed: bool, default_class: str | None = None,
) -> Objective:  # fmt: skip
    """Merges body, headers, class, client timeout and default, the first one that speaks wins.

    But a client's timeout also cuts the class' limit of the whole reply.

    Args:
        default_class: the API key's, in place of the application's.

    Raises:
        InvalidRequest: the body's `slo` is malformed. UnknownModel: there is no such class.
    """
    asked = _parse_body(body_slo)
    warnings: list[str] = []
    timeout_s = _timeout_s(headers, warnings, is_streamed=is_streamed)
    limits = {name: getattr(asked, name) for name in _HEADERS}
    source = "body" if any(limits.values()) else ""
    for name, aliases in _HEADERS.items():
        value = _first_number(headers, aliases, warnings)
        if limits[name] is None and value is not None:
            limits[name] = value
            source = source or "header"
    named = _class(class_name or headers.get("x-slo-class"), config)
    default = default_class if default_class in config.slo_classes else None
    default = default or config.routing.default_slo_class
    is_own = limits["e2e_ms"] is not None
    chosen, chosen_name, source = _fill(limits, named, timeout_s, source, default, config)
    if timeout_s is not None and not is_own:
        # Nobody waits longer: a later reply is of no use, whatever the class allows.
        limits["e2e_ms"] = min(timeout_s * 1000, limits["e2e_ms"] or math.inf)
    return Objective(
        slo=Slo(
            **limits,
            attainment=asked.attainment or (chosen.attainment if chosen else 0.95),
            on_infeasible=asked.on_infeasible or _chain_of(chosen, source),
            is_insured=chosen is not None and chosen.insured and not is_streamed,
            source=source or "none",
        ),
        slo_class=chosen_name,
        max_share=chosen.max_share if chosen else 1.0,
        expected_output_tokens=asked.expected_output_tokens
        or (chosen.expected_output_tokens if chosen else None),
        deadline_s=min(timeout_s or math.inf, config.admission.max_deadline_s),
        warnings=tuple(warnings),
    )


def _fill(
    limits: dict[str, float | None],
    named: tuple[str, SloClass] | None,
    timeout_s: float | None,
    source: str,
    default: str | None,
    config: AppConfig,
) -> tuple[SloClass | None, str | None, str]:
    """Fills limits that nobody set; returns the class in force, its name, and who asked."""
    if named is not None:
        _take(limits, named[1])
        return named[1], named[0], source or "class"
    if source:
        return None, None, source
    if timeout_s is not None:
        return None, None, "timeout"
    if default is None:
        return None, None, ""
    _take(limits, config.slo_classes[default])
    return config.slo_classes[default], default, "default"


def _chain_of(chosen: SloClass | None, source: str) -> Chain:
    """What the class says; but a reply is shortened only for callers who asked for that class."""
    if chosen is None:
        return ("reject",)
    if source == "default":
        return tuple(step for step in chosen.on_infeasible if step != "fit")
    return chosen.on_infeasible


def _take(limits: dict[str, float | None], slo_class: SloClass) -> None:
    for name in limits:
        if limits[name] is None:
            limits[name] = getattr(slo_class, name)


_NOTHING_ASKED = SloBody()


def _parse_body(body_slo: Any) -> SloBody:
    if body_slo is None:
        return _NOTHING_ASKED
    try:
        return SloBody.model_validate(body_slo)
    except ValidationError as err:
        first = err.errors()[0]
        field = ".".join(["slo", *map(str, first["loc"])])
        raise InvalidRequest(
            f"{field}: {first['msg']}, got {shown(first['input'])}. An slo looks like "
            '{"e2e_ms": 5000, "expected_output_tokens": 313}.',
            param=field,
        ) from err


def _class(name: str | None, config: AppConfig) -> tuple[str, SloClass] | None:
    if not name:
        return None
    if name not in config.slo_classes:
        raise UnknownModel(
            f"There is no SLO class {shown(name)}. The classes are {sorted(config.slo_classes)}.",
            param="model",
        )
    return name, config.slo_classes[name]


def _timeout_s(
    headers: Mapping[str, str], warnings: list[str], *, is_streamed: bool
) -> float | None:
    """The caller's hard deadline; the SDKs' own only where it limits the whole reply."""
    explicit = _first_number(headers, ("x-request-timeout-seconds",), warnings)
    if explicit is not None or is_streamed:
        return explicit
    aliases = ("x-stainless-read-timeout", "x-stainless-timeout")
    sdk = _first_number(headers, aliases, warnings)
    return None if sdk == _SDK_DEFAULT_TIMEOUT_S else sdk


def _first_number(
    headers: Mapping[str, str], names: tuple[str, ...], warnings: list[str]
) -> float | None:
    for name in names:
        text = headers.get(name)
        if text is None:
            continue
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value) and value > 0:
            return value
        warnings.append(f"{name}: ignored, not a number above 0")
    return None


def tightened(objective: Objective, *, by_s: float) -> Objective:
    """The same objective with a hard deadline `by_s` earlier, so that ours is the one that acts."""
    return replace(objective, deadline_s=max(0.001, objective.deadline_s - by_s))
