"""Requests to simulate: read from a trace, brought to a rate. Text in, Requests out; no engine."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from serve_app.routing.record import record

COLUMNS = ("arrived_at_s", "prompt_tokens", "output_tokens")


@record
class Request:
    """One request as it came: when, how long its prompt was and how long its reply became."""

    arrived_at_s: float
    prompt_tokens: int
    output_tokens: int

    def at(self, arrived_at_s: float) -> "Request":
        """The same at another time."""
        return Request(arrived_at_s, self.prompt_tokens, self.output_tokens)


def read_trace(path: Path) -> list[Request]:
    """Reads a CSV file with the columns arrived_at_s, prompt_tokens and output_tokens.

    Raises ValueError that names line, column, value and reason; other columns are left alone.
    """
    with path.open(newline="", encoding="utf-8") as file:
        return parse_trace(file, name=path.name)


def parse_trace(lines: Iterable[str], *, name: str) -> list[Request]:
    """`read_trace` of lines; `name` is what errors call them."""
    rows = csv.DictReader(lines)
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise ValueError(f"{name} line 1: no column {', '.join(missing)} in {rows.fieldnames}.")
    requests: list[Request] = []
    last_s = 0.0
    for row in rows:
        where = f"{name} line {rows.line_num}"
        arrived_at_s = _seconds(row["arrived_at_s"], where)
        if arrived_at_s < last_s:
            raise ValueError(
                f"{where}, column arrived_at_s: {row['arrived_at_s']!r} is before the line above, "
                f"at {last_s} s, or before 0."
            )
        last_s = arrived_at_s
        prompt_tokens, output_tokens = (
            _tokens(row[c], f"{where}, column {c}") for c in COLUMNS[1:]
        )
        requests.append(Request(arrived_at_s, prompt_tokens, output_tokens))
    if not requests:
        raise ValueError(f"{name} holds no requests.")
    return requests


def at_rate(requests: Sequence[Request], requests_per_s: float) -> list[Request]:
    """The same requests, their arrivals stretched or squeezed to a mean rate; bursts stay bursts.

    Raises ValueError when all arrive at once: no factor gives those a rate.
    """
    span_s = requests[-1].arrived_at_s - requests[0].arrived_at_s
    if span_s <= 0.0:
        raise ValueError(f"{len(requests)} requests that arrive at one instant have no rate.")
    factor = (len(requests) - 1) / span_s / requests_per_s
    return [request.at(request.arrived_at_s * factor) for request in requests]


def _seconds(text: str | None, where: str) -> float:
    try:
        seconds = float(text or "")
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"{where}, column arrived_at_s: {text!r} is no number of seconds.")
    return seconds


def _tokens(text: str | None, where: str) -> int:
    # Some exporters write counts as floats, "374.0".
    try:
        tokens = float(text or "")
    except ValueError:
        tokens = math.nan
    if not (tokens >= 1 and tokens.is_integer()):
        raise ValueError(f"{where}: {text!r} is no whole number of tokens, 1 or more.")
    return int(tokens)
