"""Every contender's turn in every round, each kept in a file: interrupted, it is taken up again."""

import asyncio
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_app.bench.client import Address, post
from serve_app.bench.comparison.contenders import Contender, Stand
from serve_app.bench.load import one_by_one
from serve_app.bench.overhead.engine import prompt
from serve_app.bench.traffic.open_loop import Target, offer
from serve_app.bench.traffic.records import Record, read_records, write_records
from serve_app.bench.traffic.workload import Asked, body

_CHAT = "/v1/chat/completions"
_NUM_PROBES, _NUM_WARM_UP_PROBES = 20, 3
_GIVE_UP_S = 60.0

# Told of each step as it begins.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What every contender is asked in every round.

    warm_up: other requests at the same rate, before it; not scored.
    """

    requests: tuple[Asked, ...]
    warm_up: tuple[Asked, ...]
    rounds: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One contender in one round; probes_s: single tokens on an idle engine, one by one."""

    round: int
    key: str
    probes_s: tuple[float, ...]
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Folder:
    """Where turns are kept."""

    path: Path

    def has(self, round: int, key: str) -> bool:
        return self._probes(round, key).is_file()

    def keep(self, turn: Turn) -> None:
        write_records(self._records(turn.round, turn.key), turn.records)
        # Last: a turn is there when its probes are.
        self._probes(turn.round, turn.key).write_text(json.dumps(turn.probes_s) + "\n")

    def read(self, round: int, key: str) -> Turn:
        probes_s = tuple(json.loads(self._probes(round, key).read_text()))
        return Turn(round, key, probes_s, tuple(read_records(self._records(round, key))))

    def agree(self, settings: dict[str, Any]) -> None:
        """
        Raises:
            ValueError: what lies there was measured with other settings.
        """
        kept = self.path / "settings.json"
        if not kept.is_file():
            kept.write_text(json.dumps(settings, indent=2) + "\n")
            return
        before = json.loads(kept.read_text())
        differing = [name for name in settings if before.get(name) != settings[name]]
        if differing:
            said = ", ".join(f"{n} {before.get(n)!r}, now {settings[n]!r}" for n in differing)
            raise ValueError(
                f"{self.path} holds turns that were measured with other settings ({said}); give "
                "the same ones, or another --out"
            )

    def _probes(self, round: int, key: str) -> Path:
        return self.path / f"round-{round}-{key}.probes.json"

    def _records(self, round: int, key: str) -> Path:
        return self.path / f"round-{round}-{key}.jsonl"


def rotated(stands: Sequence[Stand], round: int) -> list[Stand]:
    """The order of a round, first round 1: each stand and each contender gets every place once."""

    def turned(items: Sequence[Any]) -> list[Any]:
        by = (round - 1) % len(items)
        return [*items[by:], *items[:by]]

    return [
        Stand(stand.name, stand.serve, tuple(turned(stand.contenders))) for stand in turned(stands)
    ]


def missing(stands: Sequence[Stand], plan: Plan, folder: Folder) -> list[tuple[int, Stand]]:
    """Rounds and stands in which a turn is still to be taken, in order."""
    return [
        (round, stand)
        for round in range(1, plan.rounds + 1)
        for stand in rotated(stands, round)
        if not all(folder.has(round, contender.key) for contender in stand.contenders)
    ]


def take(round: int, stand: Stand, plan: Plan, folder: Folder, say: Say) -> None:
    """Starts a stand and takes the turns that are missing in it.

    Raises:
        ServerFailed, StartFailed: it did not start. LoadFailed: a probe was not answered.
    """
    say(f"round {round}: starting {stand.name}")
    with stand.serve():
        for contender in stand.contenders:
            if folder.has(round, contender.key):
                continue
            say(f"round {round}: {contender.name}, {len(plan.requests)} requests")
            folder.keep(asyncio.run(_turn(round, contender, plan)))


async def _turn(round: int, contender: Contender, plan: Plan) -> Turn:
    salt = f"{round}/{contender.key}"
    target = _target(contender, f"{salt}/warm-up")
    await offer(target, plan.warm_up, lambda _: None)
    probes = [_probe(contender, f"{salt}/{n}") for n in range(_NUM_PROBES + _NUM_WARM_UP_PROBES)]
    replies = await one_by_one(contender.address, probes)
    records: list[Record] = []
    await offer(_target(contender, salt), plan.requests, records.append)
    probes_s = tuple(reply.e2e_s for reply in replies[_NUM_WARM_UP_PROBES:])
    return Turn(round, contender.key, probes_s, tuple(records))


def _target(contender: Contender, salt: str) -> Target:
    def request(asked: Asked) -> bytes:
        content = body(asked, model=contender.model(asked), salt=salt, slo=contender.slo)
        return post(contender.address, _CHAT, content)

    return Target(contender.address, request, _GIVE_UP_S)


def _probe(contender: Contender, salt: str) -> bytes:
    message = {"role": "user", "content": prompt(zlib.crc32(salt.encode()))}
    content = {"model": contender.probed, "messages": [message], "max_tokens": 1}
    return post(contender.address, _CHAT, content | {"temperature": 0.0})


def addresses(stands: Sequence[Stand]) -> list[Address]:
    """Every address once."""
    return list(dict.fromkeys(c.address for stand in stands for c in stand.contenders))
