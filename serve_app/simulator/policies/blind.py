"""Rules that look at nothing, or only at the prompt. Requests in, tier names out."""

import random
from collections.abc import Sequence
from itertools import cycle

from serve_app.routing.types import RoutingRequest
from serve_app.simulator.policies.rule import Unlearning


class Always(Unlearning):
    """One tier for everything."""

    def __init__(self, tier: str) -> None:
        self._tier = tier

    def pick(self, request: RoutingRequest, now: float) -> str | None:
        return self._tier


class Random(Unlearning):
    """Any replica with the same probability; a tier by how many it has."""

    def __init__(self, replicas: Sequence[str], randomness: random.Random) -> None:
        self._replicas = replicas
        self._randomness = randomness

    def pick(self, request: RoutingRequest, now: float) -> str | None:
        return self._randomness.choice(self._replicas)


class RoundRobin(Unlearning):
    """One replica after the other."""

    def __init__(self, replicas: Sequence[str]) -> None:
        self._turns = cycle(replicas)

    def pick(self, request: RoutingRequest, now: float) -> str | None:
        return next(self._turns)


class PromptLength(Unlearning):
    """Prompts above a number of tokens to one tier, the others to the other.

    The limit and which side is whose are tuned on other requests.
    """

    def __init__(self, limit_tokens: int, *, short: str, long: str) -> None:
        self._limit_tokens = limit_tokens
        self._short, self._long = short, long

    def pick(self, request: RoutingRequest, now: float) -> str | None:
        is_long = request.prompt_tokens[self._long] > self._limit_tokens
        return self._long if is_long else self._short


class QualityThreshold(Unlearning):
    """RouteLLM: whoever scores above a fixed threshold goes to the large tier, load or no load.

    RouteLLM (Ong et al. 2024) scores how much a prompt gains by the larger model and sets the
    threshold for a share of calls. A trace has no text and every reply of a tier the same quality
    here, so the score is drawn at random and only the share is left of it: the one that ours had
    on other requests at the same load.
    """

    def __init__(self, share: float, *, small: str, large: str, randomness: random.Random) -> None:
        self._share = share
        self._small, self._large = small, large
        self._randomness = randomness

    def pick(self, request: RoutingRequest, now: float) -> str | None:
        return self._large if self._randomness.random() < self._share else self._small
