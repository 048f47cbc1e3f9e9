"""`tandem bench`: what Tandem costs and brings, measured on this machine."""

import typer

from serve_app.commands.bench.autoscaling import autoscaling
from serve_app.commands.bench.calibration import calibration
from serve_app.commands.bench.chaos import chaos
from serve_app.commands.bench.decide import decide
from serve_app.commands.bench.edf import edf
from serve_app.commands.bench.fuzz import fuzz
from serve_app.commands.bench.hostile import hostile
from serve_app.commands.bench.load import load
from serve_app.commands.bench.overhead import overhead
from serve_app.commands.bench.overload import overload
from serve_app.commands.bench.peers import peers
from serve_app.commands.bench.soak import soak
from serve_app.commands.bench.store import store

bench = typer.Typer(no_args_is_help=True, help="Measure Tandem beside what it is compared with.")
for command in (
    autoscaling,
    calibration,
    chaos,
    decide,
    edf,
    fuzz,
    hostile,
    load,
    overhead,
    overload,
    peers,
    soak,
    store,
):
    bench.command()(command)
