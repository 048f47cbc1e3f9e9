"""What was learned, across a restart of the whole application: real Ray, files, signals."""

from pathlib import Path
from typing import Any

import httpx

from tests.integration.conftest import LARGE, SMALL, a_body, a_tier
from tests.serving import serving

NUM_REPLIES = 8


def application(state: Path, *, small: dict[str, Any]) -> dict[str, Any]:
    return {
        "llm_configs": [a_tier("small", 1.0, small), a_tier("large", 2.0, LARGE)],
        "routing": {"keeps_state": True, "state": str(state)},
    }


def teach(address: str) -> None:
    """Replies of 5 tokens from each tier, one after the other."""
    with httpx.Client(base_url=address, timeout=30.0) as http:
        for tier in ("small", "large") * NUM_REPLIES:
            body = a_body(model=tier, max_tokens=5)
            assert http.post("/v1/chat/completions", json=body).status_code == 200


def learned(address: str) -> dict[str, tuple[int, float]]:
    """Replies that each tier has learned from, and the length that it expects of one."""
    tiers = httpx.get(f"{address}/v1/router/state", timeout=10.0).json()["tiers"]
    return {
        tier: (state["learned"]["observations"], state["mean_output_tokens"])
        for tier, state in tiers.items()
    }


def test_a_restart_keeps_what_was_learned_but_not_of_another_engine(tmp_path: Path) -> None:
    # Given a router that has learned of both tiers and was stopped, long before it saves by itself
    state = tmp_path / "learned.json"
    with serving(application(state, small=SMALL)) as address:
        assert [replies for replies, _ in learned(address).values()] == [0, 0]
        teach(address)
        known = learned(address)
    assert known["small"][0] == known["large"][0] == NUM_REPLIES
    # When it starts again, and the engine of one tier has become slower meanwhile
    slower = SMALL | {"step_base_s": 2 * SMALL["step_base_s"]}
    with serving(application(state, small=slower)) as address:
        kept = learned(address)
    # Then it knows as much as before of the other, and nothing of the speed of this one
    assert kept["large"] == known["large"]
    assert kept["small"][0] == 0
