"""The `tandem` command: one line per subcommand, each in a module of its own."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from serve_app.commands.report_path import refused_early

# By the subcommand, which its module calls the same, below `serve_app.commands`.
_MODULES = {
    "up": "local.command",
    "down": "local.command",
    "check": "check.command",
    "route": "route.command",
    "quantize": "weights.quantize",
    "compare": "weights.compare",
    "simulate": "simulation.command",
    "size": "sizing.command",
    "bench": "bench.command",
    "keys": "keys",
    "store": "store.command",
}


class _OnDemand(Mapping[str, Any]):
    """The subcommands, imported when they are looked up: all together take a second and more."""

    def __getitem__(self, name: str) -> Any:
        found = getattr(import_module(f"serve_app.commands.{_MODULES[name]}"), name)
        alone = typer.Typer()
        if isinstance(found, typer.Typer):
            alone.add_typer(found, name=name)
        else:
            alone.command(name)(found)
        return refused_early(get_group(alone).commands[name])

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


class _Tandem(TyperGroup):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"commands": _OnDemand()})


app = typer.Typer(
    cls=_Tandem, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Serve a small and a large model behind one address, chosen by predicted reply time.",
)  # fmt: skip
# Without one, Typer takes an application that has no command of its own for an error.
app.callback()(lambda: None)
