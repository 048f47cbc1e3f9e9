"""Options of `tandem size` as typed. Text in, values out, or a ValueError that names it."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from serve_app.commands.serve_file import our_applications, read_serve_file
from serve_app.config import AppConfig
from serve_app.simulator.trace import Request, read_trace
from serve_app.sizing.prices import AcceleratorPrice, PriceList, read_prices


def config_of(path: Path) -> AppConfig:
    """The first application of Tandem in a Serve file."""
    applications = our_applications(read_serve_file(path).content)
    if not applications:
        raise ValueError(f"{str(path)!r} holds no application of Tandem.")
    return AppConfig.model_validate(applications[0].get("args"))


def prices_of(file: Path | None, texts: Iterable[str]) -> PriceList:
    """The shipped list, the file's entries over it, and each NAME=USD over both."""
    typed = {}
    for text in texts:
        name, _, usd = text.rpartition("=")
        try:
            price = float(usd)
        except ValueError as err:
            raise ValueError(f"--price {text!r} is not NAME=USD, as A6000=0.80.") from err
        if not name or not 0 < price < math.inf:
            raise ValueError(f"--price {text!r} is not NAME=USD with a finite price above 0.")
        typed[name] = AcceleratorPrice(usd_per_hour=price, as_of="now, by --price", source="you")
    shipped = read_prices()
    listed = shipped if file is None else read_prices(file).over(shipped)
    return PriceList(accelerators=typed).over(listed)


def lengths_of(
    trace: Path | None, prompt_tokens: int, output_tokens: int | None, expected: int | None
) -> list[Request]:
    """A trace's requests; else one that stands for all."""
    if trace is not None:
        return read_trace(trace)
    tokens = output_tokens or expected
    if tokens is None:
        raise ValueError(
            "The class has no expected_output_tokens: say with --output-tokens how long replies "
            "are, or give a --trace."
        )
    return [Request(0.0, prompt_tokens, tokens)]


def refuse_endless(options: Mapping[str, float | None]) -> None:
    """Raises ValueError for the first that is infinite or no number; both pass for above 1."""
    for name, value in options.items():
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name} {value} is no number to reckon with; give a finite one.")


def names_of(text: str) -> list[str]:
    """Names with commas between."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ValueError("--accelerators names none; say for instance A6000,A100-80,H100.")
    return list(dict.fromkeys(names))


def counts_of(text: str) -> list[int]:
    """Whole numbers with commas between."""
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError as err:
        raise ValueError(f"--per-replica {text!r} is not like 1,2,4.") from err
    if counts[0] < 1:
        raise ValueError(f"--per-replica {text!r}: a replica needs at least 1 accelerator.")
    return counts
