"""Options that `tandem quantize` and `tandem compare` share, and what they ask of the engine."""

from pathlib import Path
from typing import Annotated

import typer

from deployments.evaluation.evaluate import Examination

Model = Annotated[str, typer.Argument(help="A folder, a Hugging Face id, or `embedded:NAME`.")]
CalibrationFile = Annotated[
    Path | None, typer.Option(exists=True, help="Text like your traffic, a sample per line.")
]
Samples = Annotated[int, typer.Option(min=1, help="Calibration samples at most.")]
SampleTokens = Annotated[int, typer.Option(min=1, help="Tokens of each at most.")]
Grid = Annotated[int, typer.Option(min=1, help="Points of AWQ's search; fewer is faster.")]
HeldOutFile = Annotated[
    Path | None, typer.Option(exists=True, help="Text to judge with, not calibrated on.")
]
TensorParallelSize = Annotated[int, typer.Option(min=1, help="GPUs of each engine.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the report to this file as JSON.")]


def examination(held_out_file: Path | None, tensor_parallel_size: int) -> Examination:
    """What every variant is asked; the shipped text unless the user names one."""
    engine = {"tensor_parallel_size": tensor_parallel_size} if tensor_parallel_size > 1 else {}
    if held_out_file is None:
        return Examination(engine_kwargs=engine)
    return Examination(held_out=held_out_file.read_text(), engine_kwargs=engine)
