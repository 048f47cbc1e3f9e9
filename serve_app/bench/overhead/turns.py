"""Measures two servers that cannot run at once: the reference, Tandem, the reference again.

A machine that grows slower or faster meanwhile then does so for both sides.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass

from serve_app.bench.client import Address
from serve_app.bench.overhead.measures import Comparison, Measure, Samples, Turn, compare

# Told of each step as it begins.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Server:
    """Something to measure: started when entered, stopped when left."""

    name: str
    serve: Callable[[], AbstractContextManager[Address]]


@dataclass(frozen=True, slots=True)
class Method:
    """How a server is measured: `take` gives samples of every measure.

    num_steps: how often `take` says what it does.
    """

    measures: tuple[Measure, ...]
    take: Callable[[Address, Say], Coroutine[None, None, Samples]]
    num_steps: int


@dataclass(frozen=True, slots=True)
class Part:
    """Tandem against one reference. Three turns, each a start and the method's steps."""

    name: str
    tandem: Server
    reference: Server
    method: Method

    @property
    def num_steps(self) -> int:
        return 3 * (1 + self.method.num_steps)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a part gave."""

    name: str
    tandem: str
    reference: str
    comparisons: tuple[Comparison, ...]

    @property
    def is_met(self) -> bool:
        return all(comparison.is_met for comparison in self.comparisons)


def run_part(part: Part, say: Say) -> Outcome:
    """Starts, measures and stops the servers in turn."""
    order = (part.reference, part.tandem, part.reference)
    turns = [_turn(server, server is part.tandem, part.method, say) for server in order]
    comparisons = tuple(compare(measure, turns) for measure in part.method.measures)
    return Outcome(part.name, part.tandem.name, part.reference.name, comparisons)


def _turn(server: Server, is_tandem: bool, method: Method, say: Say) -> Turn:
    def say_of_server(step: str) -> None:
        say(f"{server.name}: {step}")

    say_of_server("starting")
    with server.serve() as address:
        samples = asyncio.run(method.take(address, say_of_server))
    return Turn(server.name, is_tandem, samples)
