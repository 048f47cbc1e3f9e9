"""`tandem compare`: which form of a model's weights is the fastest here, and what it costs."""

import json as json_format
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from deployments.evaluation.evaluate import Examination, evaluate
from deployments.evaluation.figures import Figures
from deployments.evaluation.variants import Variant, parse_variant
from deployments.local_models import tandem_home
from deployments.weights.quantizing import run
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

_USUAL = ["bf16", "fp32", "int8", "awq-g32", "awq-g64"]


def compare(
    model: Model,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="fp32, bf16, int8, fp8, awq-g32, autoawq-g32, gptq-g64, ... or "
                     "NAME=FOLDER; several. The first is what the others are compared with."),
    ] = None,
    calibration_file: CalibrationFile = None,
    samples: Samples = 128,
    sample_tokens: SampleTokens = 512,
    grid: Grid = 20,
    held_out_file: HeldOutFile = None,
    tensor_parallel_size: TensorParallelSize = 1,
    only_make: Annotated[bool, typer.Option(help="Quantize, but measure nothing yet.")] = False,
    json: Json = None,
) -> None:  # fmt: skip
    """Measure variants of one model side by side: size, start, quality, speed by batch size.

    \b
    What is missing is quantized first and kept under TANDEM_HOME/variants. A variant that this
    machine's engine does not take is listed with the engine's reason.
    Exit code 0: at least two variants were measured. 1: fewer, or something did not run.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        options = {"samples": samples, "sample_tokens": sample_tokens, "grid": grid}
        variants = [parse_variant(text, **options) for text in variant or _USUAL]
        names = [one.name for one in variants]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"--variant: {min(twice)!r} is named more than once")
        source = model_folder(model, console.print)
        texts_file = calibration_file or run.CALIBRATION
        folders = {v.name: _folder(v, source, texts_file, console) for v in variants}
        if only_make:
            return
        exam = examination(held_out_file, tensor_parallel_size)
        measured, failed = _measure(variants, folders, exam, console)
        if len(measured) < 2:
            raise ValueError("fewer than two variants ran, so there is nothing to compare")
        if variants[0].name in failed:
            raise ValueError(
                f"{variants[0].name}, which the others are compared with, did not run: "
                f"{failed[variants[0].name]}"
            )
        document = comparison(model, measured[0], measured[1:]) | {"failed": failed}
    except (ScriptFailed, ValueError, OSError) as err:
        console.print(str(err), style="red", markup=False)
        raise typer.Exit(1) from err
    _show(document, console)
    if json is not None:
        json.write_text(json_format.dumps(document, indent=2) + "\n")


def _folder(variant: Variant, source: Path, texts_file: Path, console: Console) -> Path:
    """Where the variant's weights are, made first where they are not."""
    if variant.folder is not None:
        return variant.folder
    if variant.plan is None:
        return source
    making = Making(variant.plan, source, read_weight_files(source), texts_file)
    folder = tandem_home() / "variants" / f"{source.name}-{variant.plan.name}"
    making.run(folder, console)
    return folder


def _measure(
    variants: list[Variant], folders: dict[str, Path], exam: Examination, console: Console
) -> tuple[list[Figures], dict[str, str]]:
    """Figures of those that ran, and the reasons of those that did not."""
    measured: list[Figures] = []
    failed: dict[str, str] = {}
    for variant in variants:
        try:
            with console.status(f"measuring {variant.name}"):
                measured.append(
                    evaluate(
                        variant.name, folders[variant.name], exam,
                        lambda step: console.print(step, style="dim"), variant.engine_kwargs,
                    )
                )  # fmt: skip
        except ScriptFailed as err:
            failed[variant.name] = str(err)
            console.print(f"{variant.name} did not run", style="yellow")
    return measured, failed


def _show(document: dict[str, Any], console: Console) -> None:
    console.print(table_of(document))
    console.print(summary(document), style="dim")
    for entry in document["variants"]:
        console.print(f"{entry['name']}: {entry['first_reply']!r}", markup=False)
    for name, reason in document["failed"].items():
        console.print(f"{name} did not run here: {reason}", style="yellow", markup=False)
