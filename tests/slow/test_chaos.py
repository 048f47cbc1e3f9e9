"""One part after the other dies under a steady load: real Ray, HAProxy, HTTP; fake tiers."""

import random
from collections.abc import Iterator

import pytest

from serve_app.bench.chaos import report, scenario
from serve_app.bench.chaos.callers import Callers
from serve_app.bench.chaos.faults import Faults, Kind
from serve_app.bench.chaos.rounds import rounds
from serve_app.commands.local.instance import Instance
from tests.integration.test_faults import ARGS
from tests.serving import running


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    with running(ARGS) as served:
        yield served


async def test_nothing_is_lost_while_one_part_after_the_other_dies(instance: Instance) -> None:
    # Given a steady load on a whole service, half of it streamed
    callers = Callers(instance.address, 8.0, scenario.asked)
    faults = Faults(instance.processes, random.Random(1))
    kinds: list[Kind] = ["replica", "router", "haproxy", "freeze", "replica"]
    # When one process after the other is killed or stopped
    done = await rounds(kinds, faults, callers, instance.address, print)
    # Then every unstreamed request is answered right, and no stream breaks without a word
    assert [r.victim.kind for r in done] == kinds
    missed = [verdict for verdict in report.verdicts(done, len(kinds)) if not verdict.is_met]
    assert not missed, [answer for r in done for answer in r.answers if answer.verdict != "right"]
