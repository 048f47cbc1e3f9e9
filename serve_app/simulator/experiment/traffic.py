"""What is offered in a run: how much, from when on it counts. Parts of a trace in, Traffic out."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Literal

from serve_app.simulator.arrivals import Clients, diurnal_rates, synthesize
from serve_app.simulator.experiment.run import Traffic, run
from serve_app.simulator.experiment.workload import Parts, asked, drawn
from serve_app.simulator.fleet.setting import Disturbances, Setting
from serve_app.simulator.policies.catalogue import FORESIGHT, Tuned
from serve_app.simulator.trace import Request, at_rate

_MOST_WARM_UP = 1000
_TUNED_ON = 2000
_FULL_SHARE = 0.95
_PRECISION = 1.02
_QUIET_PER_S = 1e-3
_AT_ONCE_PER_S = 1e6
_WINDOW_S = 600.0
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Users:
    """Synthetic arrivals instead of the trace's: so many users, each so often. The day swings."""

    count: float
    requests_per_hour: float
    gaps: Literal["gamma", "weibull"] = "gamma"

    @property
    def rate_per_s(self) -> float:
        return self.count * self.requests_per_hour / 3600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How often and how hard.

    load: arrivals per second, 1 is the most that the clairvoyant can serve; see `full_rate_per_s`.
    requests: scored ones per seed; None for as many as the scored part has. users: who come
    instead, at their own rate. full_per_s: the rate at load 1, once it is known.
    """

    load: float = 0.7
    seeds: tuple[int, ...] = tuple(range(1, 11))
    requests: int | None = None
    users: Users | None = None
    full_per_s: float | None = None

    def rate_per_s(self, parts: Parts, setting: Setting) -> float:
        if self.users is not None:
            return self.users.rate_per_s
        return self.load * (self.full_per_s or full_rate_per_s(parts, setting))


def full_rate_per_s(parts: Parts, setting: Setting) -> float:
    """Load 1: the highest rate at which the clairvoyant serves 0.95 of what idle tiers could.

    Beyond it the deadlines are out of anybody's reach, long before engines are never idle. Found
    on the earlier part, to 2 %.

    Raises:
        ValueError: no request can be in time, or all are even when they come at once.
    """
    quiet = replace(setting, disturbances=Disturbances())
    alone = _share_served(parts, quiet, _QUIET_PER_S)
    if alone == 0.0:
        raise ValueError("No request of the trace can be in time on any tier, even when idle.")
    low, high = _QUIET_PER_S, 1.0
    while _share_served(parts, quiet, high) >= _FULL_SHARE * alone:
        if high > _AT_ONCE_PER_S:
            raise ValueError(
                "Load 1 cannot be found: all requests of the trace's earlier part are in time even "
                "when they come at once. Give a longer trace, shorter deadlines, or --users."
            )
        low, high = high, high * 2
    while high / low > _PRECISION:
        middle = math.sqrt(low * high)
        is_enough = _share_served(parts, quiet, middle) >= _FULL_SHARE * alone
        low, high = (middle, high) if is_enough else (low, middle)
    return low


def _share_served(parts: Parts, setting: Setting, rate_per_s: float) -> float:
    return run(FORESIGHT, setting, Tuned(), tuning_traffic(parts, setting, rate_per_s)).attainment


def tuning_traffic(parts: Parts, setting: Setting, rate_per_s: float) -> Traffic:
    """The end of the earlier part, of which the first third only teaches."""
    requests = at_rate(_from_zero(parts.tuning[-_TUNED_ON:]), rate_per_s)
    return _traffic(requests, len(requests) // 3, setting, seed=0)


def scored_traffic(
    parts: Parts, setting: Setting, rate_per_s: float, plan: Plan, *, seed: int
) -> Traffic:
    """The end of the earlier part to warm up, then a draw of the later one, or its lengths."""
    warm_up = at_rate(_from_zero(parts.tuning[-_MOST_WARM_UP:]), rate_per_s)
    if plan.users is None:
        scored = at_rate(drawn(parts.scored, seed), rate_per_s)[: plan.requests]
    else:
        scored = _of_users(plan.users, parts.scored, plan.requests or len(parts.scored), seed)
    begins_at_s = warm_up[-1].arrived_at_s + 1 / rate_per_s - scored[0].arrived_at_s
    later = [request.at(request.arrived_at_s + begins_at_s) for request in scored]
    return _traffic([*warm_up, *later], len(warm_up), setting, seed=seed)


def _of_users(users: Users, lengths: Sequence[Request], count: int, seed: int) -> list[Request]:
    """A stretch around the day's mean, as long as so many requests take."""
    rates = diurnal_rates(
        users=users.count,
        requests_per_user_hour=users.requests_per_hour,
        duration_s=2 * count / users.rate_per_s + _WINDOW_S,
        window_s=_WINDOW_S,
        # A quarter of a day before the peak the rate is at its mean and grows.
        peak_at_s=_DAY_S / 4,
    )
    arrivals = synthesize(
        rates,
        lengths=lengths,
        randomness=random.Random(seed),
        clients=Clients(gaps=users.gaps),
        window_s=_WINDOW_S,
    )
    return list(islice(arrivals, count))


def _traffic(requests: Sequence[Request], teaching: int, setting: Setting, *, seed: int) -> Traffic:
    return Traffic(
        partial(asked, requests, setting, seed=seed),
        requests[teaching].arrived_at_s,
        requests[-1].arrived_at_s,
        seed,
    )


def _from_zero(requests: Sequence[Request]) -> list[Request]:
    first_s = requests[0].arrived_at_s
    return [request.at(request.arrived_at_s - first_s) for request in requests]
