"""What a command's options make of the examination."""

from pathlib import Path

from deployments.evaluation.evaluate import Examination


def examination(held_out_file: Path | None, tensor_parallel_size: int) -> Examination:
    """The shipped text unless the user names one."""
    engine = {"tensor_parallel_size": tensor_parallel_size} if tensor_parallel_size > 1 else {}
    if held_out_file is None:
        return Examination(engine_kwargs=engine)
    return Examination(held_out=held_out_file.read_text(), engine_kwargs=engine)
