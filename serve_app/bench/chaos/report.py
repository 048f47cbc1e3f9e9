"""The report of `tandem bench chaos`: rounds in, verdicts, a document and tables out."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from serve_app.bench.chaos.callers import Answer
from serve_app.bench.chaos.rounds import Round
from serve_app.bench.targets import Target, Verdict, table_of

# Whoever holds the caller's connection takes a half-sent stream along; the rest is kept from him.
_HOLD_CONNECTIONS = ("router", "haproxy")
_LOST = Target("unstreamed requests lost", high=0.0)
_BROKEN = Target("streams with other text, or an end without a word", high=0.0)
_CUT = Target("streams cut although the connection's holder lived", high=0.0)
_MISSING = Target("rounds that did not take place", high=0.0)
_RECOVERED = Target("rounds after which all was well again", "%", low=100.0)
# Columns of the tables, by their fields in the document.
_UNSTREAMED = {
    "fault": "fault", "rounds": "rounds", "sent": "unstreamed", "right": "unstreamed_right",
    "lost": "unstreamed_lost", "reconnected": "reconnected", "back, p50 s": "back_after_p50_s",
    "max": "back_after_max_s",
}  # fmt: skip
_STREAMS = {
    "fault": "fault", "sent": "streams", "right": "streams_right",
    "continued": "streams_continued", "error": "streams_error_event", "cut": "streams_cut",
    "broken": "streams_broken",
}  # fmt: skip


def verdicts(rounds: Sequence[Round], num_asked: int) -> list[Verdict]:
    """What is asked of all rounds together, and what came.

    Args:
        num_asked: rounds that were to be; fewer come when the run is interrupted, or when there is
            nothing of the kind to break.
    """
    unstreamed = [a for r in rounds for a in r.answers if not a.is_streamed]
    streamed = [a for r in rounds for a in r.answers if a.is_streamed]
    cut = [
        a for r in rounds if r.victim.kind not in _HOLD_CONNECTIONS
        for a in r.answers if a.verdict == "cut"
    ]  # fmt: skip
    recovered = [r for r in rounds if r.recovered_after_s is not None]
    return [
        _LOST.judged(sum(a.verdict != "right" for a in unstreamed)),
        _BROKEN.judged(sum(a.verdict == "wrong" for a in streamed)),
        _CUT.judged(len(cut)),
        _RECOVERED.judged(100.0 * len(recovered) / len(rounds) if rounds else 0.0),
        _MISSING.judged(num_asked - len(rounds)),
    ]


def as_document(
    rounds: Sequence[Round], judged: Sequence[Verdict], machine: dict[str, Any],
    versions: dict[str, str], engines: str,
) -> dict[str, Any]:  # fmt: skip
    """Everything, as JSON takes it."""
    kinds = list(dict.fromkeys(r.victim.kind for r in rounds))
    failures = [a for r in rounds for a in r.answers if a.verdict != "right"]
    return {
        "object": "tandem.bench.chaos",
        "machine": machine,
        "versions": versions,
        "engines": engines,
        "kinds": [_as_row(k, [r for r in rounds if r.victim.kind == k]) for k in kinds],
        "total": _as_row("all", rounds),
        "failures": [
            {"is_streamed": a.is_streamed, "verdict": a.verdict, "why": a.why}
            for a in failures[:50]
        ],
        "targets": [verdict.as_document() for verdict in judged],
        "is_met": all(verdict.is_met for verdict in judged),
    }


def show(judged: Sequence[Verdict], document: dict[str, Any], console: Console) -> None:
    """What became of the requests by kind of fault, then the verdicts."""
    rows = [*document["kinds"], document["total"]]
    console.print(_table("Unstreamed requests that ended after a fault", _UNSTREAMED, rows))
    console.print(_table("Streams that ended after a fault", _STREAMS, rows))
    console.print(table_of("Under faults", judged))
    for failure in document["failures"][:10]:
        console.print(f"{failure['verdict']}: {failure['why']}", style="dim", markup=False)
    machine = document["machine"]
    console.print(f"{machine['date']}  {machine['cpu']}, {machine['cores']} cores")


def _table(title: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="left" if name == "fault" else "right")
    for row in rows:
        table.add_row(*(_text(row[key]) for key in columns.values()))
    return table


def _as_row(kind: str, rounds: Sequence[Round]) -> dict[str, Any]:
    answers = [a for r in rounds for a in r.answers]
    unstreamed = [a for a in answers if not a.is_streamed]
    streamed = [a for a in answers if a.is_streamed]
    back_s = sorted(r.recovered_after_s for r in rounds if r.recovered_after_s is not None)
    return {
        "fault": kind,
        "rounds": len(rounds),
        "unstreamed": len(unstreamed),
        "unstreamed_right": _count(unstreamed, "right"),
        "unstreamed_lost": len(unstreamed) - _count(unstreamed, "right"),
        "streams": len(streamed),
        "streams_right": _count(streamed, "right"),
        "streams_continued": sum(a.verdict == "right" and a.num_engines > 1 for a in streamed),
        "streams_error_event": _count(streamed, "error"),
        "streams_cut": _count(streamed, "cut"),
        "streams_broken": _count(streamed, "wrong"),
        "reconnected": sum(a.num_connections > 1 for a in answers),
        "back_after_p50_s": round(back_s[len(back_s) // 2], 1) if back_s else None,
        "back_after_max_s": round(back_s[-1], 1) if back_s else None,
    }


def _count(answers: Sequence[Answer], verdict: str) -> int:
    return sum(answer.verdict == verdict for answer in answers)


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
