"""`--json PATH` is refused before the work, which may take hours, and not after it."""

import os
from pathlib import Path
from typing import Any

import typer


def refused_early(command: Any) -> Any:
    """The command, which now looks first whether its report can be written; so do those in it.

    Args:
        command: as Typer makes it of a function or of a `Typer`; one or the other of its classes.
    """
    for each in getattr(command, "commands", {}).values():
        refused_early(each)
    for option in command.params:
        if option.name == "json":
            option.callback = _refuse_unwritable
    return command


def _refuse_unwritable(context: typer.Context, option: Any, path: Path | None) -> Path | None:
    if path is None:
        return None
    if path.is_dir():
        raise typer.BadParameter(f"{str(path)!r} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"the folder {str(path.parent)!r} does not exist; make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise typer.BadParameter(f"{str(path)!r} may not be written by this user")
    return path
