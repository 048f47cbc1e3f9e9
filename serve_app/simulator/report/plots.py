"""Pictures of comparisons. Plain values of `document` in, SVG files out; needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Told apart in grey as well: each has a marker of its own.
_LINES = ("-", "--", ":", "-.")
_GREYS = ("0.0", "0.45", "0.65")
_MARKERS = "o^svDxP*<>hpd+1234XH|_"


class NoPlots(RuntimeError):
    """matplotlib is not installed."""


def bars(path: Path, said: dict[str, Any], title: str) -> None:
    """Quality-weighted goodput of every policy with its interval, and what it costs."""
    figure = _figure((10, 4.6), title)
    goodput, cost = figure.subplots(1, 2, sharey=True)
    ranked = sorted(said["policies"].items(), key=lambda item: item[1]["quality_goodput"])
    names = [name for name, _ in ranked]
    values = [means["quality_goodput"] for _, means in ranked]
    ends = [means["ci"]["quality_goodput"] for _, means in ranked]
    errors = [
        [value - low for value, (low, _) in zip(values, ends, strict=True)],
        [high - value for value, (_, high) in zip(values, ends, strict=True)],
    ]
    colors = ["0.25" if name == "ours" else "0.75" for name in names]
    goodput.barh(names, values, xerr=errors, color=colors, ecolor="0.0", height=0.7)
    foreseen = said["clairvoyant"]["quality_goodput"]
    goodput.axvline(foreseen, color="0.0", linestyle="--", linewidth=1)
    goodput.annotate("clairvoyant", (foreseen, 0), fontsize=8, rotation=90, ha="right", va="bottom")
    goodput.set(
        title="Quality-weighted goodput, 95 % interval",
        xlabel="quality x replies in time per second",
    )
    costs = [means["usd_per_1k_good_tokens"] or 0.0 for _, means in ranked]
    cost.barh(names, costs, color=colors, height=0.7)
    cost.set(title="Cost, idle replicas paid", xlabel="USD per 1,000 tokens in time")
    _save(figure, path)


def lines(path: Path, sweep: Sequence[dict[str, Any]], axis: str, title: str) -> None:
    """Share of the clairvoyant's quality-weighted goodput, and attainment, along a sweep."""
    figure = _figure((11, 4.6), title)
    share, attainment = figure.subplots(1, 2)
    values = [one["value"] for one in sweep]
    for number, name in enumerate(sweep[0]["policies"]):
        style = {
            "linestyle": _LINES[number % len(_LINES)],
            "color": _GREYS[number % len(_GREYS)],
            "marker": _MARKERS[number % len(_MARKERS)],
            "markersize": 5,
            "linewidth": 2.5 if name == "ours" else 1,
        }
        of_all = [one["policies"][name] for one in sweep]
        share.plot(values, [means["of_clairvoyant"] for means in of_all], label=name, **style)
        attainment.plot(values, [means["attainment"] for means in of_all], label=name, **style)
    foreseen = [one["clairvoyant"]["attainment"] for one in sweep]
    attainment.plot(values, foreseen, color="0.8", linewidth=3, label="clairvoyant", zorder=0)
    share.axhline(1.0, color="0.8", linewidth=3, zorder=0)
    share.set(title="Of the clairvoyant's quality-weighted goodput", xlabel=axis, ylabel="share")
    attainment.set(title="Replies in time, of all offered", xlabel=axis, ylabel="share")
    attainment.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    _save(figure, path)


def _figure(size: tuple[float, float], title: str) -> Any:
    """
    Raises:
        NoPlots: matplotlib is missing; the message says how to install it.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as err:
        raise NoPlots(
            "Plots need matplotlib: pip install 'tandem-serve[bench]', or add --no-plots."
        ) from err
    # The same numbers give the same file.
    matplotlib.rcParams["svg.hashsalt"] = "tandem"
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=11)
    return figure


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="svg", metadata={"Date": None})
