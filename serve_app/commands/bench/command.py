"""`tandem bench`: what Tandem costs and brings, measured on this machine."""

import typer

from serve_app.commands.bench.cost.decide import decide
from serve_app.commands.bench.cost.overhead import overhead
from serve_app.commands.bench.cost.store import store
from serve_app.commands.bench.gain.autoscaling import autoscaling
from serve_app.commands.bench.gain.calibration import calibration
from serve_app.commands.bench.gain.edf import edf
from serve_app.commands.bench.gain.peers import peers
from serve_app.commands.bench.load import load
from serve_app.commands.bench.strain.chaos import chaos
from serve_app.commands.bench.strain.fuzz import fuzz
from serve_app.commands.bench.strain.hostile import hostile
from serve_app.commands.bench.strain.overload import overload
from serve_app.commands.bench.strain.soak import soak

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
