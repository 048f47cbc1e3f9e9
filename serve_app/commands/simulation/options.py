"""Options of `tandem simulate` as typed. Text in, values out, or a ValueError that names it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from serve_app.simulator.experiment.sweep import DEFAULTS, Axis
from serve_app.simulator.fleet.plans import Failure
from serve_app.simulator.policies import catalogue
from serve_app.telemetry.decision_log import read


def names_of(policies: str) -> list[str]:
    """Policies by their names, or `all`."""
    if policies == "all":
        return list(catalogue.NAMES)
    names = [name.strip() for name in policies.split(",") if name.strip()]
    unknown = catalogue.unknown(names)
    if unknown or not names:
        raise ValueError(
            f"--policies {policies!r}: {', '.join(unknown) or 'nothing'} is no policy; there are "
            f"{', '.join(catalogue.NAMES)}."
        )
    return list(dict.fromkeys(names))


def failure(text: str) -> Failure:
    """TIER@SECOND:DURATION."""
    tier, _, times = text.rpartition("@")
    at, _, down = times.partition(":")
    try:
        return Failure(tier, float(at), float(down))
    except ValueError as err:
        raise ValueError(f"--fail {text!r} is not TIER@SECOND:DURATION, as large@300:60.") from err


def values_of(axis: Axis, text: str) -> Sequence[float]:
    """Numbers with commas between; the axis' own when nothing is said."""
    if not text:
        return DEFAULTS[axis]
    try:
        return [float(value) for value in text.split(",")]
    except ValueError as err:
        raise ValueError(f"--values {text!r} are no numbers with commas between.") from err


def prices_of(texts: Iterable[str]) -> dict[str, float]:
    """TIER=USD each."""
    prices = {}
    for text in texts:
        tier, _, usd = text.rpartition("=")
        try:
            prices[tier] = float(usd)
        except ValueError as err:
            raise ValueError(f"--price {text!r} is not TIER=USD, as small=0.80.") from err
        if prices[tier] < 0:
            raise ValueError(f"--price {text!r} is below 0.")
    return prices


def read_entries(path: Path) -> Iterable[Mapping[str, Any]]:
    """A decision log's folder, or one of its files; lines that are no entries are left out.

    Raises:
        OSError: it cannot be read.
    """
    if path.is_dir():
        return read(path)
    return [entry for line in path.read_text().splitlines() for entry in _parsed(line)]


def _parsed(line: str) -> list[dict[str, Any]]:
    try:
        entry = json.loads(line)
    except ValueError:
        # A crash may leave half a line.
        return []
    return [entry] if isinstance(entry, dict) else []
