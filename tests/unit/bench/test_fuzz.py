"""The fuzz: finds what it looks for, and finds nothing in the application."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from starlette.responses import PlainTextResponse
from typer.testing import CliRunner

from serve_app.bench.fuzz.inputs import Sent
from serve_app.bench.fuzz.run import Tally, fuzz, judge
from serve_app.bench.fuzz.target import Target, target
from serve_app.cli import app as tandem

HELLO = Sent("POST", "/v1/chat/completions", (), (b"{}",))


async def crashing(scope: Any, receive: Any, send: Any) -> None:
    raise ZeroDivisionError


async def injecting(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"x-a", b"b\r\nset-cookie: c")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("app", "found"),
    [
        (crashing, "ZeroDivisionError"),
        (injecting, "header injection"),
        (PlainTextResponse("no", 400), "error without OpenAI's form"),
    ],
)
async def test_a_crash_an_injection_and_a_wrong_form_are_counted(app: Any, found: str) -> None:
    tally = Tally()
    await judge(Target(app), HELLO, tally)
    assert tally.crashes == {found: 1}
    assert tally.examples[0]["request"] == "POST /v1/chat/completions"


async def test_a_server_error_is_counted() -> None:
    tally = Tally()
    broken = PlainTextResponse('{"error":{"message":"x"}}', 500)
    await judge(Target(broken), HELLO, tally)
    assert (tally.num_server_errors, tally.num_inputs) == (1, 1)


def test_two_thousand_hostile_requests_get_proper_answers() -> None:
    tally = fuzz(2000, first_seed=7, say=lambda _: None)
    assert tally.num_inputs >= 2000
    assert (tally.num_server_errors, dict(tally.crashes)) == (0, {}), tally.examples
    # And they are no mere refusals at the door
    assert tally.by_status[200] > 150
    assert tally.by_status[400] > 200


def test_the_command_writes_its_report(tmp_path: Path) -> None:
    report = tmp_path / "fuzz.json"
    ran = CliRunner().invoke(tandem, ["bench", "fuzz", "--inputs", "50", "--json", str(report)])
    assert ran.exit_code == 0, ran.output
    assert '"is_met": true' in report.read_text()


aim = target(has_keys=False)
documented = schemathesis.openapi.from_asgi("/openapi.json", aim.app)


@pytest.fixture(scope="module", autouse=True)
def begun() -> None:
    assert aim.begin is not None
    asyncio.run(cast(Coroutine[Any, Any, None], aim.begin()))


@documented.parametrize()
@settings(
    max_examples=15, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_requests_made_from_the_openapi_document_get_no_server_error(
    case: schemathesis.Case,
) -> None:
    case.call_and_validate(checks=[not_a_server_error])
