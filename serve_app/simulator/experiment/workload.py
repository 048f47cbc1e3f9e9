"""Traffic for a run: a trace cut in time, drawn anew per seed, at a load. Requests in and out."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from serve_app.routing.types import RoutingRequest
from serve_app.simulator.fleet.setting import AskedClass, Setting
from serve_app.simulator.requests import Arrival
from serve_app.simulator.trace import Request

_BLOCK_S = 30.0


@dataclass(frozen=True, slots=True)
class Parts:
    """A trace split in time: everything is tuned and learned on `tuning`, scored on `scored`."""

    tuning: list[Request]
    scored: list[Request]
    num_left_out: int

    @property
    def span_s(self) -> float:
        return self.scored[-1].arrived_at_s - self.tuning[0].arrived_at_s


def split(trace: Sequence[Request], context_tokens: int, *, tuning_share: float = 0.5) -> Parts:
    """Cuts a trace; prompts that leave no room for a reply in any window are left out.

    Replies are cut where the window ends, as an engine does.
    """
    fitting = [
        replace(r, output_tokens=min(r.output_tokens, context_tokens - r.prompt_tokens))
        for r in trace
        if r.prompt_tokens < context_tokens
    ]
    cut = int(len(fitting) * tuning_share)
    if cut < 1 or cut >= len(fitting):
        raise ValueError(f"{len(fitting)} requests cannot be split into two parts.")
    return Parts(fitting[:cut], fitting[cut:], len(trace) - len(fitting))


def drawn(part: Sequence[Request], seed: int) -> list[Request]:
    """As many requests in another order: stretches of half a minute, drawn with replacement.

    Within a stretch bursts and lengths stay as they came (a block bootstrap, Künsch 1989).
    """
    randomness = random.Random(seed)
    start_s = part[0].arrived_at_s
    blocks: dict[int, list[Request]] = {}
    for request in part:
        blocks.setdefault(int((request.arrived_at_s - start_s) / _BLOCK_S), []).append(request)
    numbers = list(blocks)
    made: list[Request] = []
    offset_s = 0.0
    while len(made) < len(part):
        number = randomness.choice(numbers)
        shift_s = offset_s - number * _BLOCK_S - start_s
        made += [request.at(request.arrived_at_s + shift_s) for request in blocks[number]]
        offset_s += _BLOCK_S
    return made[: len(part)]


def asked(requests: Iterable[Request], setting: Setting, *, seed: int) -> Iterator[Arrival]:
    """The requests as callers of the setting's classes send them."""
    randomness = random.Random(seed)
    classes, shares = setting.classes, [one.share for one in setting.classes]
    tiers = [tier.tier for tier in setting.tiers]
    patience = setting.disturbances.patience
    for request in requests:
        one = classes[0] if len(classes) == 1 else randomness.choices(classes, shares)[0]
        routed = _routing_request(request, one, tiers, randomness.random())
        yield Arrival(request, routed, patience)


def _routing_request(
    request: Request, one: AskedClass, tiers: Sequence[str], draw: float
) -> RoutingRequest:
    return RoutingRequest(
        prompt_tokens=dict.fromkeys(tiers, request.prompt_tokens),
        slo=one.slo,
        expected_output_tokens=one.expected_output_tokens,
        route=one.route,
        share_key=one.name,
        max_share=one.max_share,
        draw=draw,
    )
