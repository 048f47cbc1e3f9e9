"""`tandem bench fuzz`: hostile requests, and whether every one of them gets a proper answer."""

import json as json_format
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from serve_app.bench.machine import describe_machine, versions
from serve_app.bench.targets import Target, table_of
from serve_app.commands.progress import progress

_PER_STEP = 2_000


def fuzz(
    inputs: Annotated[int, typer.Option(min=1, help="How many requests.")] = 100_000,
    seed: Annotated[int, typer.Option(help="The first round's; another sends others.")] = 1,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as JSON.")
    ] = None,
) -> None:
    """Send requests that are broken on purpose to the router's whole application.

    \b
    Bodies, headers and paths are made by Hypothesis; the application is the real one, in this
    process, over tiers that answer at once. An answer of the 5xx class, an exception, a hang, a
    header with a line break in it or an error that has not OpenAI's form is a failure.
    Exit code 0: there was none. 1: there was one; the report has examples.
    """
    # It is a test library, which the other commands do not need.
    from serve_app.bench.fuzz.run import fuzz as run_fuzz

    console = Console(highlight=False, soft_wrap=True)
    machine, begun = describe_machine(), time.monotonic()
    with progress(console, -(-inputs // _PER_STEP)) as say:
        tally = run_fuzz(inputs, first_seed=seed, say=say)
    verdicts = [
        Target("inputs", low=inputs).judged(tally.num_inputs),
        Target("answers of the 5xx class", high=0).judged(tally.num_server_errors),
        Target("exceptions, hangs, injections, wrong forms", high=0).judged(
            sum(tally.crashes.values())
        ),
    ]
    document: dict[str, Any] = {
        "object": "tandem.bench.fuzz",
        "machine": machine,
        "versions": versions(["hypothesis", "fastapi", "starlette", "orjson"]),
        "seed": seed,
        "seconds": round(time.monotonic() - begun, 1),
        "by_status": {str(status): count for status, count in sorted(tally.by_status.items())},
        "crashes": dict(tally.crashes),
        "examples": tally.examples,
        "targets": [verdict.as_document() for verdict in verdicts],
        "is_met": all(verdict.is_met for verdict in verdicts),
    }
    console.print(table_of(f"{tally.num_inputs} hostile requests", verdicts))
    console.print(f"by status: {document['by_status']}; {document['seconds']} s", markup=False)
    for example in tally.examples:
        console.print(example, markup=False)
    if json is not None:
        json.write_text(json_format.dumps(document, indent=2) + "\n")
    if not document["is_met"]:
        raise typer.Exit(1)
