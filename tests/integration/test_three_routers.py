"""Three routers over the same two tiers: none knows what the others send, but by the engines."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serve_app.bench.client import Address
from serve_app.bench.overload.callers import Call, client_of, offer
from serve_app.bench.overload.scenario import Planned, planned
from serve_app.telemetry.decision_log import DecisionEntry, read
from tests.integration.conftest import a_tier
from tests.serving import serving

# Eight replies at once take some 0.7 s on the small tier and 1.4 s on the large one.
TIMING = {"prefill_base_s": 0.005, "max_num_seqs": 8}
SMALL = TIMING | {"step_base_s": 0.010}
LARGE = TIMING | {"step_base_s": 0.022}
# The large tier alone could not take it all in time.
RATE_PER_S, DURATION_S, SLO_S = 10.0, 7.0, 4.0


def served_by(num_routers: int, log: Path) -> tuple[list[Call], list[DecisionEntry]]:
    """The same traffic through so many routers: what callers saw, and what the routers logged."""
    log.mkdir()
    args: dict[str, Any] = {
        "llm_configs": [a_tier("small", 1.0, SMALL), a_tier("large", 2.0, LARGE)],
        "ingress_deployment_config": {"num_replicas": num_routers},
        "telemetry": {"decision_log": True, "decision_log_folder": str(log)},
    }
    with serving(args) as address:
        host, port = address.removeprefix("http://").split(":")
        calls = asyncio.run(_offered(Address(host, int(port))))
    return calls, list(read(log))


async def _offered(address: Address) -> list[Call]:
    requests: list[Planned] = planned(RATE_PER_S, DURATION_S, seed=1, slo_s=SLO_S)
    async with client_of(address) as client:
        return await offer(client, requests)


def num_in_time(calls: list[Call]) -> int:
    return sum(t.is_in_time for call in calls for t in call.tries)


def large_share(entries: list[DecisionEntry]) -> float:
    """Of what was admitted."""
    tiers = [entry["tier"] for entry in entries if entry["status"] == 200]
    return tiers.count("large") / len(tiers)


@pytest.mark.timeout(600)
def test_three_routers_share_two_tiers_as_one_would(tmp_path: Path) -> None:
    # Given what one router does with the traffic
    calls_alone, alone = served_by(1, tmp_path / "one")
    # When three get it
    calls, entries = served_by(3, tmp_path / "three")
    # Then all three take part, nothing fails, and hardly fewer callers are served in time
    assert len({entry["replica"] for entry in entries}) == 3
    assert not any(t.is_failure for call in calls for t in call.tries)
    assert num_in_time(calls) >= 0.8 * num_in_time(calls_alone) > 0
    # And they do not all run to the same tier
    assert abs(large_share(entries) - large_share(alone)) < 0.25
