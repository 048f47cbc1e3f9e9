import hashlib
import pickle
import threading
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import pytest

from deployments.store.places.s3 import S3Place
from deployments.store.places.types import Run, StoreFailed
from tests.s3 import set_aws_environment
from tests.unit.store.builders import unseen


class Dropping(BaseHTTPRequestHandler):
    """Promises 100 bytes of each object, sends 10 and hangs up."""

    def do_HEAD(self) -> None:
        self._begin(200)

    def do_GET(self) -> None:
        self._begin(200)
        self.wfile.write(bytes(10))
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def _begin(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "100")
        self.send_header("ETag", '"a"')
        self.end_headers()


class Replaced(Dropping):
    """Has another object by the time that it is fetched."""

    def do_GET(self) -> None:
        body = b"<Error><Code>PreconditionFailed</Code><Message>it changed</Message></Error>"
        self.send_response(412)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Receiving(Dropping):
    """Takes whatever it is sent."""

    sums: ClassVar[list[str | None]] = []

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.sums.append(self.headers["x-amz-checksum-sha256"])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def s3_of(
    handler: type[BaseHTTPRequestHandler], monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3Place]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        set_aws_environment(f"http://127.0.0.1:{server.server_port}", monkeypatch)
        with closing(S3Place("models", "tiny")) as place:
            yield place
        server.shutdown()


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (Dropping, r"s3://models/tiny could not be read: .*10.*100"),
        (Replaced, r"could not be read: .*did not match"),
    ],
)
def test_an_object_that_breaks_off_or_is_replaced_while_it_is_fetched_is_told_with_the_reason(
    handler: type[BaseHTTPRequestHandler], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_of(handler, monkeypatch) as place, pytest.raises(StoreFailed, match=reason):
        place.download("v/weights.bin", 100, BytesIO(), unseen("fetching", 100))


def test_a_failure_on_another_node_arrives_with_its_sentence() -> None:
    # Ray pickles what a task on a node raises.
    failed = StoreFailed("s3://models/tiny", "read", "it is gone", "Push it again.")

    arrived = pickle.loads(pickle.dumps(failed))

    assert str(arrived) == (
        "The model at s3://models/tiny could not be read: it is gone. Push it again."
    )
    assert arrived.uri == "s3://models/tiny"


@pytest.mark.parametrize("asked", ["when_supported", "when_required"])
def test_s3_is_told_the_sum_of_a_piece_unless_checksums_are_refused(
    asked: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", asked)
    Receiving.sums.clear()
    (tmp_path / "file").write_bytes(b"abcdef")
    sha256 = hashlib.sha256(b"cd")
    with s3_of(Receiving, monkeypatch) as place:
        place.upload(Run(tmp_path / "file", 2, 2, sha256.hexdigest()), "key", lambda _: None)

    told = b64encode(sha256.digest()).decode()
    assert Receiving.sums == [told if asked == "when_supported" else None]


def test_a_cancelled_upload_fails_and_the_place_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Given an upload that waits for its server
    asked, answered = threading.Event(), threading.Event()

    class Waiting(Receiving):
        def do_PUT(self) -> None:
            asked.set()
            answered.wait(60.0)
            super().do_PUT()

    (tmp_path / "file").write_bytes(b"ab")
    run = Run(tmp_path / "file", 0, 2, hashlib.sha256(b"ab").hexdigest())
    with s3_of(Waiting, monkeypatch) as place, ThreadPoolExecutor(1) as pool:
        upload = pool.submit(place.upload, run, "key", lambda _: None)
        assert asked.wait(60.0)
        # When all is cancelled, then it fails, and what comes after does not
        place.cancel()
        answered.set()
        with pytest.raises(CancelledError):
            upload.result()
        place.upload(run, "key", lambda _: None)
