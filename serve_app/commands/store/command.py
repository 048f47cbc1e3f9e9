"""`tandem store`: models on S3 or in a shared folder."""

import typer

from serve_app.commands.store.clean import gc
from serve_app.commands.store.inspect import ls, verify
from serve_app.commands.store.transfer import pull, push

store = typer.Typer(no_args_is_help=True, help="Models on S3 or in a shared folder.")
store.command()(push)
store.command()(pull)
store.command()(ls)
store.command()(verify)
store.command()(gc)
