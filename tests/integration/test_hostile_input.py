"""Requests and clients that mean no good, over real Ray and HAProxy: others are still served."""

import socket
import time

import httpx
import openai
import psutil
import pytest

from serve_app.bench.client import Address
from serve_app.bench.hostile.crowds import crowd
from serve_app.bench.hostile.run import endure
from tests.integration.conftest import a_body

HELLO = [{"role": "user", "content": "Hello"}]


def at(address: str) -> Address:
    host, port = address.removeprefix("http://").split(":")
    return Address(host, int(port))


@pytest.mark.parametrize(
    ("status", "error", "body"),
    [
        (400, openai.BadRequestError, {"n": 1000}),
        (400, openai.BadRequestError, {"logit_bias": {"1": 1000}}),
        (404, openai.NotFoundError, {"model": "nobody"}),
        (422, openai.UnprocessableEntityError, {"slo": {"e2e_ms": 1}, "max_tokens": 500}),
        (500, openai.InternalServerError, {"fake": {"fault": "fail"}}),
    ],
)
def test_each_refusal_is_the_sdks_own_class(
    client: openai.OpenAI, status: int, error: type[openai.APIStatusError], body: dict[str, object]
) -> None:
    arguments = {"model": "auto", "messages": HELLO} | body
    known = {key: arguments.pop(key) for key in ("model", "messages")}
    with pytest.raises(error) as refusal:
        client.chat.completions.create(**known, extra_body=arguments)  # type: ignore[call-overload]
    assert refusal.value.status_code == status
    assert refusal.value.body is not None


def test_an_image_is_refused_and_its_url_never_fetched(client: openai.OpenAI) -> None:
    # Given a server of ours that would notice
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/cat.png"
        part = {"type": "image_url", "image_url": {"url": url}}
        with pytest.raises(openai.BadRequestError, match="text only"):
            client.chat.completions.create(
                model="auto",
                messages=[{"role": "user", "content": [part]}],  # type: ignore[list-item, misc]
            )
        # Then nobody has called there
        with pytest.raises(TimeoutError):
            server.accept()


def test_line_breaks_in_ids_reach_neither_headers_nor_paths(http: httpx.Client) -> None:
    raw = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-request-id: a\x0bb\x1b[31m\xff;c\r\n"
        b"content-length: %d\r\n\r\n%s"
    )
    body = httpx.Request("POST", "http://x", json=a_body(max_tokens=1)).content
    with socket.create_connection(at(str(http.base_url).rstrip("/")), timeout=20) as connection:
        connection.sendall(raw % (len(body), body))
        head = connection.recv(65536).partition(b"\r\n\r\n")[0]
    # HAProxy refuses such a header, or the router cuts it to what is printable
    assert (
        head.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
        or b"x-router-decision-id: ab31mc" in head
    )


def test_two_requests_of_one_id_are_told_apart(http: httpx.Client) -> None:
    # Given a request under way, and another that claims to be the same
    headers = {"x-request-id": "order-7"}
    body = a_body(model="large", stream=True)
    with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as first:
        second = http.post("/v1/chat/completions", json=a_body(max_tokens=1), headers=headers)
        assert first.headers["x-router-decision-id"] == "order-7"
        assert second.headers["x-router-decision-id"] == "order-7.2"
        first.read()
    # Then nothing is left in flight
    give_up_at = time.monotonic() + 5
    while (state := http.get("/v1/router/state").json())["in_flight"]:
        assert time.monotonic() < give_up_at
    assert [tier["in_flight"] for tier in state["tiers"].values()] == [0, 0]
    assert all(tier["wanted"]["fits_per_replica"] > 0 for tier in state["tiers"].values())


@pytest.mark.parametrize(
    ("kind", "number"),
    [("idle", 300), ("half-open", 300), ("slow writers", 30), ("slow readers", 20),
     ("huge bodies", 2)],
)  # fmt: skip
async def test_others_are_served_beside_clients_that_hold_on(
    address: str, kind: str, number: int
) -> None:
    async with crowd(kind, number, at(address)) as gathered:
        assert gathered.num_open >= number
        beside = await endure(None, 0, at(address), list[psutil.Process], requests=3)
    assert beside.served.share == 1.0


def test_a_body_that_never_ends_is_cut_off(address: str) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    sent = 0
    with socket.create_connection(at(address), timeout=20) as connection:
        connection.sendall(head)
        try:
            while sent < 50_000_000:
                connection.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass
    # The limit is 100 kB; the rest was on its way
    assert sent < 20_000_000
