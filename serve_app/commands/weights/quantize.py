"""`tandem quantize`: smaller weights, judged before they are handed over."""

import json as json_format
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.evaluation.evaluate import Examination, evaluate
from deployments.weights.keep import is_whole
from deployments.weights.quantizing import run
from deployments.weights.quantizing.plan import (
    Backend,
    Method,
    Plan,
    default_bits,
    largest_group,
)
from deployments.weights.quantizing.weight_files import read_weight_files
from deployments.weights.scripts import ScriptFailed
from serve_app.bench.variants.report import comparison
from serve_app.bench.variants.table import summary, table_of
from serve_app.commands.weights.making import Making
from serve_app.commands.weights.options import (
    CalibrationFile,
    Grid,
    HeldOutFile,
    Json,
    Model,
    Samples,
    SampleTokens,
    TensorParallelSize,
    examination,
)
from serve_app.commands.weights.source import model_folder

REPORT = "quantization_report.json"
_CANDIDATE = ".candidate"


def quantize(
    model: Model,
    out: Annotated[Path, typer.Option(help="Folder for the quantized model.")],
    method: Annotated[Method, typer.Option(help="awq and gptq: weights; int8, fp8: both.")] = (
        Method.awq
    ),
    backend: Annotated[Backend, typer.Option(help="Who quantizes.")] = Backend.llm_compressor,
    bits: Annotated[int | None, typer.Option(help="Per weight; 4, for int8 and fp8 8.")] = None,
    group_size: Annotated[
        int | None,
        typer.Option(help="Weights that share a scale; -1: a whole row. The largest that fits."),
    ] = None,
    calibration_file: CalibrationFile = None,
    samples: Samples = 128,
    sample_tokens: SampleTokens = 512,
    grid: Grid = 20,
    held_out_file: HeldOutFile = None,
    max_perplexity_increase: Annotated[
        float, typer.Option(min=0.0, help="Refuse the result above it; 0.15 is 15 per cent.")
    ] = 0.15,
    tensor_parallel_size: TensorParallelSize = 1,
    json: Json = None,
) -> None:
    """Quantize a model, and compare it with the original on the engine that will serve it.

    \b
    Says first how much disk and memory it takes. The first time, the quantizer is installed into
    an environment of its own (1 to 2 GB). Interrupted, it goes on from the last whole step.
    Exit code 0: OUT holds the model and quantization_report.json.
    1: refused, and OUT is as it was; the candidate and its report are kept beside it.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        source = model_folder(model, console.print)
        weights = read_weight_files(source)
        plan = Plan(
            method, backend, bits or default_bits(method),
            largest_group(weights.input_sizes) if group_size is None else group_size,
            samples, sample_tokens, grid,
        )  # fmt: skip
        making = Making(plan, source, weights, calibration_file or run.CALIBRATION)
        _refuse_taken(out, making.recipe)
        candidate = out.with_name(out.name + _CANDIDATE)
        making.run(candidate, console)
        exam = examination(held_out_file, tensor_parallel_size)
        document = _judge(model, making, candidate, exam, max_perplexity_increase, console)
    except (ScriptFailed, ValueError, OSError) as err:
        console.print(str(err), style="red", markup=False)
        raise typer.Exit(1) from err
    if json is not None:
        json.write_text(json_format.dumps(document, indent=2) + "\n")
    if not document["is_accepted"]:
        console.print(_refusal(document, out, candidate), style="red", markup=False)
        raise typer.Exit(1)
    os.replace(candidate, out)
    console.print(f"{out} holds the model and {REPORT}.")


def _refuse_taken(out: Path, recipe: str) -> None:
    """
    Raises:
        ValueError: OUT exists: it holds this very model, or something else.
    """
    if not out.exists():
        return
    if is_whole(out, recipe):
        raise ValueError(f"--out {out}: holds this very quantization already; see its {REPORT}")
    raise ValueError(f"--out {out}: exists and holds something else; name another folder")


def _judge(
    model: str, making: Making, candidate: Path, exam: Examination, bound: float,
    console: Console,
) -> dict[str, Any]:  # fmt: skip
    """Measures both, shows the table, writes the report beside the weights."""
    plan = making.plan
    with console.status("measuring"):
        original, quantized = (
            evaluate(name, folder, exam, lambda step: console.print(step, style="dim"))
            for name, folder in (("original", making.source), (plan.name, candidate))
        )
    document = comparison(model, original, [quantized])
    grew = document["variants"][1]["perplexity_increase"]
    document |= {
        "object": "tandem.quantization_report",
        "method": plan.method, "backend": plan.backend, "bits": plan.bits, "recipe": making.recipe,
        "group_size": plan.group_size if plan.is_grouped else None,
        "max_perplexity_increase": bound,
        "is_accepted": grew <= bound,
    }  # fmt: skip
    (candidate / REPORT).write_text(json_format.dumps(document, indent=2) + "\n")
    console.print(table_of(document))
    console.print(summary(document), style="dim")
    for variant in document["variants"]:
        console.print(f"{variant['name']}: {variant['first_reply']!r}", markup=False)
    return document


def _refusal(document: dict[str, Any], out: Path, candidate: Path) -> str:
    grew = document["variants"][1]["perplexity_increase"]
    return (
        f"Refused: perplexity grew by {grew:.1%}, and --max-perplexity-increase allows "
        f"{document['max_perplexity_increase']:.1%}. {out} was not written; {candidate} holds the "
        "result and its report. Take smaller groups, more bits or calibration text like your "
        "traffic; or run it again with a larger bound, which only measures anew."
    )
