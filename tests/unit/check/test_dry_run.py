from typing import Any

import pytest

from serve_app.commands.route.dry_run import dry_run
from serve_app.config import AppConfig
from serve_app.errors import UnknownModel
from tests.unit.check.builders import a_config, a_tier

ZEPHYR = a_tier("zephyr-7b-awq")
LLAMA = a_tier("llama-2-70b-awq", "A100-80") | {
    "routing": {"accelerator": "A100-80", "quality": {"default": 2.0}}
}


def a_body(**keys: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": "hi " * 600}], **keys}


def two_tiers() -> AppConfig:
    return a_config(ZEPHYR, LLAMA)


def test_a_long_reply_goes_to_the_tier_that_makes_the_deadline() -> None:
    decision, _ = dry_run(two_tiers(), a_body(max_tokens=313, slo=_five_seconds(313)))

    assert decision["selected"] == "zephyr-7b-awq"


def test_a_short_reply_goes_to_the_better_tier() -> None:
    decision, _ = dry_run(two_tiers(), a_body(max_tokens=50, slo=_five_seconds(50)))

    assert decision["selected"] == "llama-2-70b-awq"


def test_an_estimated_prompt_length_is_said() -> None:
    decision, notes = dry_run(two_tiers(), a_body())

    assert {c["prompt_tokens"] for c in decision["candidates"]} == {450}
    assert any("estimated" in note for note in notes)


def test_an_impossible_deadline_says_what_a_server_would_answer() -> None:
    decision, notes = dry_run(two_tiers(), a_body(slo={"e2e_ms": 10}))

    assert decision["selected"] is None
    assert any("422" in note for note in notes)


def test_a_tier_of_unknown_speed_is_left_out_and_named() -> None:
    config = a_config(ZEPHYR, a_tier("mystery"))

    decision, notes = dry_run(config, a_body())

    assert [c["tier"] for c in decision["candidates"]] == ["zephyr-7b-awq"]
    assert any(note.startswith("mystery is left out") for note in notes)


def test_an_unknown_model_is_refused_as_a_server_would() -> None:
    with pytest.raises(UnknownModel):
        dry_run(two_tiers(), a_body(model="gpt-4"))


def _five_seconds(output_tokens: int) -> dict[str, object]:
    return {"e2e_ms": 5000, "expected_output_tokens": output_tokens}
