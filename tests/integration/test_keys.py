"""API keys over HTTP, with three routers: who gets in, how much of it, and what is never told."""

import asyncio
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from typer.testing import CliRunner

from serve_app.cli import app as tandem
from serve_app.telemetry.decision_log import read
from tests.integration.conftest import a_body, a_tier
from tests.serving import files_written, running_in

INSTANT = {"prefill_base_s": 0.0, "prefill_per_token_s": 0.0, "step_base_s": 0.0,
           "step_per_sequence_s": 0.0, "max_num_seqs": 256}  # fmt: skip
PATIENT = INSTANT | {"step_base_s": 0.02}
# No word of it is a word of ours.
PROMPT_MARK, ARGUMENT_MARK = "zyxprompt41", "zyxargument42"
BURST, LIMIT = 320, 200


@dataclass
class Served:
    """A running application with keys. traces: what its OpenTelemetry exporter sent."""

    address: str
    folder: Path
    tokens: dict[str, str]
    traces: list[bytes] = field(default_factory=list)

    def client(self, name: str) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.address}/v1", api_key=self.tokens.get(name, name), max_retries=0
        )

    def headers(self, name: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens[name]}"}

    def get(self, path: str, name: str) -> httpx.Response:
        return httpx.get(self.address + path, headers=self.headers(name), timeout=30)


def a_new_key(file: Path, *options: str) -> str:
    """As a person makes one."""
    made = CliRunner().invoke(tandem, ["keys", "create", "--file", str(file), *options])
    assert made.exit_code == 0, made.output
    return made.stdout.splitlines()[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("keys")
    file = folder / "keys.yaml"
    tokens = {
        "plain": a_new_key(file),
        "admin": a_new_key(file, "--admin"),
        "small": a_new_key(file, "--model", "small"),
        "burst": a_new_key(file, "--requests-per-minute", str(LIMIT)),
        "few": a_new_key(file, "--requests-per-minute", "2", "--tokens-per-minute", "5000"),
        "four": a_new_key(file, "--concurrent-requests", "4"),
        "leaver": a_new_key(file, "--name", "leaver"),
    }
    args: dict[str, Any] = {
        "llm_configs": [a_tier("small", 1.0, PATIENT), a_tier("large", 2.0, INSTANT)],
        "slo_classes": {"whatsapp": {"e2e_ms": 5000}},
        "ingress_deployment_config": {"num_replicas": 3},
        "telemetry": {"decision_log": True, "decision_log_folder": str(folder / "decisions")},
        "auth": {"keys": str(file), "spend": str(folder / "spend.json")},
    }
    with collector() as (endpoint, traces):
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        with running_in(folder, args, environment) as instance:
            yield Served(instance.address, folder, tokens, traces)


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """Takes what an OpenTelemetry exporter sends."""
    seen: list[bytes] = []

    class Taker(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
        server.shutdown()


def ask(client: openai.OpenAI, model: str = "auto", **changes: Any) -> Any:
    messages = [{"role": "user", "content": "Hello"}]
    return client.chat.completions.create(
        **{"model": model, "messages": messages, "max_tokens": 3} | changes
    )


async def statuses(served: Served, name: str, number: int, **body: Any) -> list[int]:
    """Of so many requests at the same time."""
    limits = httpx.Limits(max_connections=60)
    async with httpx.AsyncClient(base_url=served.address, limits=limits, timeout=60) as client:

        async def one() -> int:
            reply = await client.post(
                "/v1/chat/completions", json=a_body(max_tokens=2) | body,
                headers=served.headers(name),
            )  # fmt: skip
            return reply.status_code

        return list(await asyncio.gather(*(one() for _ in range(number))))


def test_a_caller_without_a_valid_key_is_the_sdks_authentication_error(served: Served) -> None:
    for wrong in ("none", "sk-tandem-abc-def", served.tokens["plain"][:-1] + "_"):
        with pytest.raises(openai.AuthenticationError) as error:
            ask(served.client(wrong))
        assert error.value.code == "invalid_api_key"


def test_a_key_outside_its_models_is_the_sdks_permission_error(served: Served) -> None:
    assert ask(served.client("small"), "small").model == "small"
    with pytest.raises(openai.PermissionDeniedError, match="It may use small"):
        ask(served.client("small"), "large")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/docs", "/openapi.json"])
def test_health_and_documents_need_no_key(served: Served, path: str) -> None:
    assert httpx.get(served.address + path).status_code == 200


@pytest.mark.parametrize("path", ["/v1/router/state", "/v1/router/keys", "/metrics"])
def test_what_shows_the_router_needs_an_admins_key(served: Served, path: str) -> None:
    assert httpx.get(served.address + path).status_code == 401
    assert served.get(path, "plain").status_code == 403
    assert served.get(path, "admin").status_code == 200


def test_the_metrics_page_has_our_series(served: Served) -> None:
    ask(served.client("plain"))
    give_up_at = time.monotonic() + 30
    page = ""
    while "ray_tandem_requests_total" not in page and time.monotonic() < give_up_at:
        page = served.get("/metrics", "admin").text
    assert "ray_tandem_requests_total" in page


async def test_a_burst_over_three_routers_gets_its_limit_within_a_twentieth(
    served: Served,
) -> None:
    # Given a key for 200 requests per minute, and many more than that at once
    answers = await statuses(served, "burst", BURST)
    # Then nearly the limit was admitted, and never more, by all three routers
    assert set(answers) == {200, 429}
    assert 0.95 * LIMIT <= answers.count(200) <= LIMIT
    give_up_at = time.monotonic() + 20
    while len(replicas(served)) < 3 and time.monotonic() < give_up_at:
        await statuses(served, "plain", 3)
    assert len(replicas(served)) == 3


def replicas(served: Served) -> set[str]:
    return {entry["replica"] for entry in read(served.folder / "decisions")}


async def test_requests_at_the_same_time_are_counted_over_all_routers(served: Served) -> None:
    answers = await statuses(served, "four", 30, model="small", max_tokens=64)
    # 64 steps of 20 ms: none ends while the others arrive
    assert answers.count(200) == 4
    assert answers.count(429) == 26


def test_a_key_over_its_rate_is_the_sdks_rate_limit_error(served: Served) -> None:
    client = served.client("few")
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": "Hello"}], max_tokens=3
    )
    assert raw.headers["x-ratelimit-limit-requests"] == "2"
    assert raw.headers["x-ratelimit-limit-tokens"] == "5000"
    assert int(raw.headers["x-ratelimit-remaining-tokens"]) < 5000
    with pytest.raises(openai.RateLimitError) as error:
        for _ in range(4):
            ask(client)
    assert (error.value.code, error.value.type) == ("rate_limit_exceeded", "requests")
    assert 1 <= int(error.value.response.headers["retry-after"]) <= 61


def test_a_request_larger_than_the_keys_minute_is_the_sdks_bad_request(served: Served) -> None:
    with pytest.raises(openai.BadRequestError, match="5000"):
        ask(served.client("few"), max_tokens=9000)


def test_usage_is_counted_by_key(served: Served) -> None:
    # Given a reply that took some time of its replica: three steps of 20 ms
    ask(served.client("plain"), "small")
    # Then all routers' counters say so soon
    key_id = served.tokens["plain"].split("-")[2]
    give_up_at = time.monotonic() + 20
    tokens, usd = 0.0, 0.0
    while (tokens < 4 or not usd) and time.monotonic() < give_up_at:
        usage = served.get("/v1/router/keys", "admin").json()["keys"].get(key_id, {})
        tokens, usd = usage.get("tokens_last_minute", 0.0), usage.get("usd_this_month", 0.0)
    assert tokens >= 4
    assert usd > 0


def test_a_revoked_key_is_refused_by_every_router_within_five_seconds(served: Served) -> None:
    client = served.client("leaver")
    ask(client)
    # When an operator revokes it
    key_id = served.tokens["leaver"].split("-")[2]
    file = str(served.folder / "keys.yaml")
    assert CliRunner().invoke(tandem, ["keys", "revoke", key_id, "--file", file]).exit_code == 0
    revoked_at = time.monotonic()
    # Then, five seconds later at most, none of the routers serves it any more
    last_served_at = revoked_at
    while time.monotonic() < last_served_at + 2.5:
        assert last_served_at < revoked_at + 5
        try:
            ask(client)
            last_served_at = time.monotonic()
        except openai.AuthenticationError as error:
            assert "revoked" in str(error)


def test_no_prompt_no_reply_and_no_key_is_written_anywhere(served: Served) -> None:
    # Given requests of every fate, each with marked texts
    client = served.client("plain")
    marked = [{"role": "user", "content": f"{PROMPT_MARK} and more"}]
    told = [ask(client, messages=marked).to_json()]
    list(ask(client, messages=marked, stream=True))
    bodies: list[dict[str, Any]] = [
        {"messages": [{"role": "root", "content": PROMPT_MARK}]},
        {"messages": [PROMPT_MARK]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "url": PROMPT_MARK}]}]},
        {"messages": marked, "fake": {"fault": "fail"}},
        {"messages": marked, "tools": [{"function": {"name": 3, "x": ARGUMENT_MARK}}]},
        {"messages": marked, "model": "nobody"},
        {"messages": marked, "slo": {"e2e_ms": 1}},
        {"prompt": PROMPT_MARK},
    ]
    errors = [
        httpx.post(f"{served.address}{path}", json=body, headers=served.headers("plain")).text
        for body in bodies
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/route")
    ]
    told += [served.get(path, "admin").text for path in ("/metrics", "/v1/router/state")]
    give_up_at = time.monotonic() + 15
    while not served.traces and time.monotonic() < give_up_at:
        time.sleep(0.2)
    assert served.traces
    # Then neither answers nor logs, traces, metrics, decisions and files hold any of it
    written = everything_written(served)
    assert len(written) > 10
    secrets = [token.split("-", 3)[3] for token in served.tokens.values()]
    for mark in (PROMPT_MARK, ARGUMENT_MARK, *secrets):
        assert mark not in "".join(errors + told)
        assert [name for name, data in written.items() if mark.encode() in data] == []


def everything_written(served: Served) -> dict[str, bytes]:
    """Files of the run and of its Ray session, by name, and the traces."""
    return files_written(served.folder) | {"traces": b"".join(served.traces)}
