"""The `tandem` command: one line per subcommand, each in a module of its own."""

import typer

from serve_app.commands.bench_command import bench
from serve_app.commands.check import check
from serve_app.commands.keys import keys
from serve_app.commands.local import down, up
from serve_app.commands.route import route
from serve_app.commands.simulate import simulate
from serve_app.commands.size import size
from serve_app.commands.store_command import store
from serve_app.commands.weights.compare import compare
from serve_app.commands.weights.quantize import quantize

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Serve a small and a large model behind one address, chosen by predicted reply time.",
)  # fmt: skip
app.command()(up)
app.command()(down)
app.command()(check)
app.command()(route)
app.command()(quantize)
app.command()(compare)
app.command()(simulate)
app.command()(size)
app.add_typer(bench, name="bench")
app.add_typer(keys, name="keys")
app.add_typer(store, name="store")
