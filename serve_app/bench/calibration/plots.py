"""Pictures of forecasts beside what came. Numbers in, an SVG file out.

matplotlib is needed only here and only when a plot is asked for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LEVELS = tuple(level / 20 for level in range(1, 20))
_ROLLING = 300
_SMALLEST_ROLLING = 40
_MOST_POINTS = 500
_LOWEST_SHOWN = 0.85
# Told apart in grey as well: by line and by darkness.
_STYLES = (("-", "0.0", "o"), ("--", "0.55", "^"), (":", "0.35", "s"))


class NoPlots(RuntimeError):
    """matplotlib is not installed."""


@dataclass(frozen=True, slots=True)
class Series:
    """One run in its order. reliability: (stated, observed) shares. mark: where something changed.

    predicted_s, actual_s: a median forecast and what came. is_covered: within the 95 % bound.
    """

    name: str
    reliability: Sequence[tuple[float, float]]
    is_covered: Sequence[bool]
    predicted_s: Sequence[float]
    actual_s: Sequence[float]
    marks: Mapping[int, str]


def require_matplotlib() -> None:
    """
    Raises:
        NoPlots: it is missing; the message says how to install it.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as err:
        raise NoPlots(
            "--plot needs matplotlib: pip install 'tandem-serve[bench]', or leave --plot out."
        ) from err


def observed(stated: Sequence[float]) -> list[tuple[float, float]]:
    """How often replies came within the time that had each probability.

    Args:
        stated: of each reply, the probability that was given to the time it then took.
    """
    return [(level, sum(one <= level for one in stated) / len(stated)) for level in _LEVELS]


def rolling(is_covered: Sequence[bool]) -> list[tuple[int, float]]:
    """(position of the last, coverage) of each stretch of 300 replies; of fewer in a short run."""
    size = max(_SMALLEST_ROLLING, min(_ROLLING, len(is_covered) // 5))
    count = sum(is_covered[:size])
    points = [(size, count / size)] if len(is_covered) >= size else []
    for end in range(size, len(is_covered)):
        count += is_covered[end] - is_covered[end - size]
        points.append((end + 1, count / size))
    return points


def draw(path: Path, series: Sequence[Series], title: str) -> None:
    """Writes reliability, rolling coverage and predicted against measured time.

    Raises:
        NoPlots: matplotlib is missing.
    """
    require_matplotlib()
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    FigureCanvasSVG(figure)
    figure.suptitle(title, fontsize=11)
    reliability, over_time, scatter = figure.subplots(1, 3)
    _draw_reliability(reliability, series)
    _draw_rolling(over_time, series)
    _draw_scatter(scatter, series)
    # Without a date, the same numbers give the same file.
    figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_reliability(axes: Any, series: Sequence[Series]) -> None:
    axes.plot((0, 1), (0, 1), color="0.8", linewidth=1)
    for one, (line, grey, marker) in zip(series, _STYLES, strict=False):
        stated, seen = zip(*one.reliability, strict=True)
        axes.plot(stated, seen, line, color=grey, marker=marker, markersize=3, label=one.name)
    axes.set(
        title="Stated and observed probability", xlabel="stated probability of arriving in time",
        ylabel="share that did", xlim=(0, 1), ylim=(0, 1),
    )  # fmt: skip
    axes.legend(loc="upper left", frameon=False)


def _draw_rolling(axes: Any, series: Sequence[Series]) -> None:
    axes.axhline(0.95, color="0.8", linewidth=1)
    lowest = _LOWEST_SHOWN
    for one, (line, grey, _) in zip(series, _STYLES, strict=False):
        points = rolling(one.is_covered)
        if points:
            positions, shares = zip(*points[:: _every(points)], strict=True)
            axes.plot(positions, shares, line, color=grey, linewidth=1, label=one.name)
            lowest = min(lowest, *shares)
        for position, text in one.marks.items():
            axes.axvline(position, color="0.6", linestyle="-.", linewidth=1)
            axes.annotate(text, (position, 1.002), fontsize=8, xytext=(4, 0),
                          textcoords="offset points")  # fmt: skip
    axes.set(
        title="Coverage of the 95 % bound over the run", xlabel="request, in order of arrival",
        ylabel="share within its bound, rolling", ylim=(lowest - 0.05, 1.01),
    )  # fmt: skip
    axes.legend(loc="lower right", frameon=False)


def _draw_scatter(axes: Any, series: Sequence[Series]) -> None:
    for one, (_, grey, marker) in zip(series, _STYLES, strict=False):
        every = _every(one.actual_s)
        axes.scatter(
            one.predicted_s[::every], one.actual_s[::every], s=5, color=grey, marker=marker,
            alpha=0.4, linewidths=0, label=one.name,
        )  # fmt: skip
    times_s = [time_s for one in series for time_s in (*one.predicted_s, *one.actual_s)]
    ends = (min(times_s), max(times_s))
    axes.plot(ends, ends, color="0.8", linewidth=1)
    axes.set(
        title="Predicted and measured reply time", xlabel="predicted median, s",
        ylabel="measured, s", xscale="log", yscale="log",
    )  # fmt: skip
    axes.legend(loc="upper left", frameon=False)


def _every(points: Sequence[object]) -> int:
    """One in so many is drawn, so that the file stays small."""
    return math.ceil(len(points) / _MOST_POINTS)
