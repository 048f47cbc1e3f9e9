import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import typer

from serve_app.commands.route.command import route
from serve_app.commands.route.dry_run import dry_run
from tests.unit.check.builders import a_config, a_serve_file, a_tier


class Router:
    """A server that answers POST /v1/route with one prepared status and body."""

    def __init__(self) -> None:
        self.answer: tuple[int, Any] = (200, {})
        self.asked: dict[str, Any] = {}
        router = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                router.asked = json.loads(self.rfile.read(length)) | {"path": self.path}
                status, body = router.answer
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Keeps the test's output clean."""

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def router() -> Iterator[Router]:
    router = Router()
    thread = Thread(target=router.http.serve_forever, args=(0.01,))
    thread.start()
    yield router
    router.http.shutdown()
    thread.join()
    router.http.server_close()


def test_a_server_is_asked_with_the_slo_and_its_decision_is_shown(
    router: Router, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a server that decides as the library does
    body = {"messages": [{"role": "user", "content": "hi"}]}
    router.answer = (200, dry_run(a_config(a_tier()), body)[0])

    route("hi", url=router.url, slo_e2e_ms=5000.0, max_tokens=20)

    assert router.asked["path"] == "/v1/route"
    assert router.asked["slo"] == {"e2e_ms": 5000}
    assert router.asked["max_tokens"] == 20
    assert "zephyr-7b would answer" in capsys.readouterr().out


def test_a_refusal_shows_the_server_s_words_and_exits_1(
    router: Router, capsys: pytest.CaptureFixture[str]
) -> None:
    router.answer = (422, {"error": {"message": "No tier can meet 1 ms."}})

    with pytest.raises(typer.Exit) as stopped:
        route("hi", url=router.url)

    assert stopped.value.exit_code == 1
    assert "422: No tier can meet 1 ms." in capsys.readouterr().err


def test_a_class_is_asked_for_in_the_model(router: Router) -> None:
    router.answer = (404, {})

    with pytest.raises(typer.Exit):
        route("hi", url=router.url, slo_class="whatsapp")

    assert router.asked["model"] == "auto:whatsapp"


def test_a_file_is_enough_to_decide(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(a_serve_file())

    route("hi", config=file, max_tokens=20, json=tmp_path / "decision.json")

    decision = json.loads((tmp_path / "decision.json").read_text())
    assert decision["selected"] == "zephyr-7b"


def test_a_file_with_errors_points_to_tandem_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(a_serve_file(slo_classes="slo_clases"))

    with pytest.raises(typer.Exit):
        route("hi", config=file)

    assert "tandem check" in capsys.readouterr().err
