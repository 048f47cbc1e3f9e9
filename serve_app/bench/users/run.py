"""Runs the locustfile with locust itself, in a process of its own. Settings in, Records out."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from serve_app.bench.load import LoadFailed
from serve_app.bench.traffic.records import Record, read_records

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
# For the last replies; without them the run would not end.
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Users:
    """A closed loop: `count` users, each of whom asks, waits for the reply, and asks again.

    pace_s: how often each wants to ask; 0: again at once. slo_ms: None for a mix. is_plain: say
    nothing of the SLO. trace: None for the usual mix of lengths.
    """

    count: int
    pace_s: float
    duration_s: float
    model: str
    trace: Path | None
    scale: float
    slo_ms: float | None
    is_plain: bool

    def arguments(self, url: str, records: Path) -> list[str]:
        words = [
            "--host", url, "--headless", "--users", str(self.count),
            "--spawn-rate", str(self.count), "--for-s", f"{self.duration_s:g}",
            "--run-time", f"{self.duration_s + _PATIENCE_S:g}s", "--only-summary",
            "--loglevel", "WARNING",
            # Its own exit code would count a refusal as a failure of locust.
            "--exit-code-on-error", "0",
            "--model", self.model, "--pace-s", f"{self.pace_s:g}", "--scale", f"{self.scale:g}",
            "--records", str(records),
        ]  # fmt: skip
        words += ["--trace", str(self.trace)] if self.trace is not None else []
        words += ["--slo-ms", f"{self.slo_ms:g}"] if self.slo_ms is not None else []
        return [*words, "--plain"] if self.is_plain else words


def closed_loop(users: Users, url: str, folder: Path) -> list[Record]:
    """What every user got, in the order in which it ended.

    Args:
        folder: for the records.

    Raises:
        LoadFailed: locust is not installed, or it failed.
    """
    records = folder / "users.jsonl"
    command = [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE)]
    done = subprocess.run(
        [*command, *users.arguments(url, records)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode or not records.is_file():
        last = "\n".join(done.stderr.splitlines()[-15:])
        raise LoadFailed(
            f"{last}\nlocust ended with status {done.returncode}; is it installed? "
            "`pip install locust`, or the extra `bench`"
        )
    return read_records(records)
