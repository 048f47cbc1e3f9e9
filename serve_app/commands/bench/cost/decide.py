"""`tandem bench decide`: the time of one decision and the memory of many replies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.local_models import embedded_path, prepare
from serve_app.bench.decide import (
    NUM_TIERS,
    PROMPT_TOKENS,
    Round,
    Say,
    Traffic,
    median_quantile_s,
    memory_growth,
)
from serve_app.bench.machine import describe_machine, versions
from serve_app.bench.targets import Target, Verdict, table_of
from serve_app.commands.bench.outcome import conclude
from serve_app.commands.progress import progress
from serve_app.commands.route.dry_run import prompt_counter
from serve_app.prompts import PromptCounter

_MODEL = "smollm2-135m"
_NUM_WARM_UP, _NUM_ROUNDS, _PER_ROUND = 3_000, 5, 1_000
_NUM_STEPS = 10
_MB = 1e6
_P50 = Target("decision, p50", "ms", high=0.15)
_P99 = Target("decision, p99", "ms", high=0.5)
_TOKENIZED_P99 = Target(f"with {PROMPT_TOKENS} tokens to count, p99", "ms", high=2.0)


def decide(
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
    observations: Annotated[
        int, typer.Option(min=_NUM_STEPS, help="Replies that one tier learns from, for its memory.")
    ] = 1_000_000,
) -> None:
    """What a decision costs: time at 512 prompt tokens and 4 tiers, memory after many replies.

    \b
    Times are of this process alone, without HTTP and without an engine, and include what a busy
    machine adds; of five rounds the median one counts. Takes some three minutes.
    Exit code 0: every target is met. 1: one is missed, or something did not run.
    """
    conclude(lambda console: _measure(observations, console), json)


def _measure(observations: int, console: Console) -> dict[str, Any]:
    machine = describe_machine()
    prepare([_MODEL], lambda text: console.print(text, markup=False, style="dim"))
    counter = prompt_counter(embedded_path(_MODEL))
    body = a_chat_of(PROMPT_TOKENS, counter)
    with progress(console, 1 + 2 * _NUM_ROUNDS + _NUM_STEPS) as say:
        # First, so that the process has not grown for anything else.
        grown = memory_growth(observations, say, steps=_NUM_STEPS)
        say("warming up")
        traffic = Traffic()
        traffic.round(_NUM_WARM_UP)
        plain = [_said(say, "decisions", traffic.round(_PER_ROUND)) for _ in range(_NUM_ROUNDS)]
        tokenized = [
            _said(say, "decisions with tokenization",
                  traffic.round(_PER_ROUND, lambda: counter.count(body)))
            for _ in range(_NUM_ROUNDS)
        ]  # fmt: skip
    verdicts = _verdicts(plain, tokenized, grown, observations)
    document = {
        "object": "tandem.bench.decide",
        "machine": machine,
        "versions": versions(["tokenizers"]),
        "tiers": NUM_TIERS,
        "prompt_tokens": PROMPT_TOKENS,
        "p50_ms": verdicts[0].value,
        "p99_ms": verdicts[1].value,
        "p99_with_tokenization_ms": verdicts[2].value,
        "p50_with_tokenization_ms": _ms([r.admitted_s for r in tokenized], 0.5),
        "p50_refusal_ms": _ms([r.refused_s for r in plain if r.refused_s], 0.5),
        "p50_learning_ms": _ms([r.finished_s for r in plain], 0.5),
        "in_flight": traffic.num_in_flight,
        "observations": observations,
        "memory_growth_mb": [round(size / _MB, 2) for size in grown],
        "targets": [verdict.as_document() for verdict in verdicts],
        "is_met": all(verdict.is_met for verdict in verdicts),
    }
    _show(document, verdicts, console)
    return document


def _verdicts(
    plain: Sequence[Round], tokenized: Sequence[Round], grown: Sequence[int], observations: int
) -> list[Verdict]:
    memory = Target(f"memory after {observations:,} replies", "MB", high=20.0)
    times_s = [r.admitted_s for r in plain]
    return [
        _P50.judged(_ms(times_s, 0.5)),
        _P99.judged(_ms(times_s, 0.99)),
        _TOKENIZED_P99.judged(_ms([r.admitted_s for r in tokenized], 0.99)),
        memory.judged(max(grown) / _MB),
    ]


def _show(document: dict[str, Any], verdicts: Sequence[Verdict], console: Console) -> None:
    console.print(table_of(f"One decision, {NUM_TIERS} tiers", verdicts))
    machine = document["machine"]
    console.print(
        f"{machine['date']}  {machine['cpu']}, {machine['cores']} cores, load average "
        f"{machine['load_average_1m']} at the start; python {document['versions']['python']}"
    )
    console.print(
        f"A refusal with its Retry-After takes {document['p50_refusal_ms']:.2f} ms, learning from "
        f"a reply {document['p50_learning_ms']:.2f} ms (medians); {document['in_flight']} requests "
        "were in flight."
    )


def a_chat_of(num_tokens: int, counter: PromptCounter) -> dict[str, Any]:
    """A chat body whose prompt has about so many tokens, and never fewer."""
    words = num_tokens
    while True:
        content = " ".join(f"word{number % 97}" for number in range(words))
        body = {"messages": [{"role": "user", "content": content}]}
        excess = counter.count(body) - num_tokens
        if words <= num_tokens // 8 or excess <= num_tokens // 50:
            return body
        words -= max(1, excess * words // (excess + num_tokens))


def _said(say: Say, text: str, measured: Round) -> Round:
    say(text)
    return measured


def _ms(rounds: Sequence[Sequence[float]], share: float) -> float:
    return round(1e3 * median_quantile_s(rounds, share), 4) if rounds else 0.0
