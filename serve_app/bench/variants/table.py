"""Variants as a table that fits a terminal, and what was read off it."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

_MB = 1e6


def table_of(document: Mapping[str, Any]) -> Table:
    """Rows are figures, columns are variants: names are short, figures many."""
    variants: Sequence[Mapping[str, Any]] = document["variants"]
    table = Table("", *(str(variant["name"]) for variant in variants))
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("weights on disk, MB", *(f"{v['weights_bytes'] / _MB:.0f}" for v in variants))
    table.add_row("start of the engine, s", *(f"{v['load_s']:.1f}" for v in variants))
    table.add_row("perplexity", *(f"{v['perplexity']:.2f}" for v in variants))
    table.add_row(
        "  more than the first", *(_share(v, "perplexity_increase", "+") for v in variants)
    )
    errors = (_share(v, "perplexity_increase_error") for v in variants)
    table.add_row("  ± standard error", *errors)
    table.add_row("same next token", *(_share(v, "agreement") for v in variants))
    questions = document["questions"]
    table.add_row(f"same reply, of {questions}", *(_or_dash(v, "same_replies") for v in variants))
    table.add_row(
        "tokens until they differ", *(_or_dash(v, "common_reply_tokens") for v in variants)
    )
    for kind in ("prefill", "decode"):
        for size in variants[0][f"{kind}_tokens_per_s"]:
            speeds = (f"{v[f'{kind}_tokens_per_s'][size]:.0f}" for v in variants)
            table.add_row(f"{kind}, tokens/s, batch {size}", *speeds)
    return table


def summary(document: Mapping[str, Any]) -> str:
    """Under which circumstances the figures hold, in two lines."""
    machine = document["machine"]
    engines = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return (
        f"{machine['date']}  {machine['cpu']}, {machine['cores']} cores, load average "
        f"{machine['load_average_1m']} at the start; {engines}\n"
        f"Perplexity of {document['held_out_tokens']} held-out tokens; "
        f"same next token: at these places; replies are greedy."
    )


def _share(variant: Mapping[str, Any], key: str, sign: str = "") -> str:
    return f"{variant[key]:{sign}.1%}" if key in variant else "-"


def _or_dash(variant: Mapping[str, Any], key: str) -> str:
    return f"{variant[key]:g}" if key in variant else "-"
