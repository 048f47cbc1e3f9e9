"""An answer for people. Answer in, tables and sentences on a console out."""

from rich.console import Console
from rich.table import Table

from serve_app.check.tables import titled
from serve_app.sizing.answer import Answer
from serve_app.sizing.capacity import Capacity
from serve_app.sizing.prices import PriceList
from serve_app.sizing.trial import Trial

_MOST_PLANS = 5
_LIMITS = {
    "impossible": "even an idle replica is late",
    "context": "too many prompts are longer than its window",
    "memory": "the KV cache is full",
    "slots": "max_num_seqs of the file is reached; raising it serves more",
    "prefill": "one more would be late because of the prefills of others",
    "decode": "one more would be late because steps of a larger batch take longer",
}


def show(answer: Answer, prices: PriceList, console: Console) -> None:
    """Prints what each machine can do, the fleets, the check, the costs and the verdict."""
    demand = answer.demand
    console.print(
        f"{demand.users:,.0f} users: {demand.mean_rps:.4g} requests/s on average, "
        f"{demand.peak_rps:.4g} at the peak (factor {demand.peak_factor:g}), "
        f"{demand.prompt_tokens:.0f} + {demand.output_tokens:.0f} tokens each, "
        f"{demand.slo.attainment:.0%} within {demand.slo.e2e_ms:g} ms."
    )
    console.print(_option_table(answer))
    for limit in dict.fromkeys(one.limit for one in answer.capacities):
        console.print(f"{limit}: {_LIMITS[limit]}", style="dim")
    for refused in answer.refused:
        machine = f"{refused.tier} on {refused.count} x {refused.accelerator}"
        console.print(f"{machine} does not fit: {refused.why}.", style="dim")
    if answer.plans:
        console.print(_plan_table(answer))
        console.print(_cost_table(answer, prices))
    for sentence in answer.why_not():
        console.print(sentence, style="bold red")
    if answer.plan is not None:
        _show_verdict(answer, console)


def told(trial: Trial) -> str:
    """One line of progress."""
    quality = "" if trial.is_good_enough else f", quality {trial.quality:.4g} is too low"
    return f"simulated {trial.plan.name}: {trial.attainment:.1%} in time{quality}"


def _show_verdict(answer: Answer, console: Console) -> None:
    last, first = answer.trials[-1], answer.plans[0]
    asked = answer.demand.slo.attainment
    console.print(
        f"By the formula {first.name} is enough for {asked:.0%}. Simulated at "
        f"{answer.demand.peak_rps:.4g} requests/s, {last.requests} of them: "
        f"{last.plan.name} has {last.attainment:.1%} in time, 95 % within "
        f"{last.e2e_s['p95']:.2f} s, quality {last.quality:.4g}."
    )
    if answer.is_met:
        console.print(f"Buy {last.plan.name}.", style="bold green")
        return
    console.print(
        f"Not settled: {last.plan.name} does not hold in the simulation, nor what is cheaper.",
        style="bold red",
    )


def _option_table(answer: Answer) -> Table:
    table = titled(
        "What one replica serves in time",
        ("tier", "on", "USD/h", "idle reply", "batch", "requests/s", "USD/million", "limit"),
    )
    for one in answer.capacities:
        table.add_row(*_option_row(one))
    return table


def _option_row(one: Capacity) -> tuple[str, ...]:
    option = one.option
    idle = "-" if one.limit == "context" else f"{one.idle_e2e_s:.2f} s"
    return (
        option.tier.tier, f"{option.count} x {option.accelerator}",
        f"{option.tier.usd_per_hour:.2f}", idle,
        str(one.batch) if one.rps else "-", f"{one.rps:.2f}" if one.rps else "-",
        f"{one.usd_per_million:.0f}" if one.rps else "-", one.limit,
    )  # fmt: skip


def _plan_table(answer: Answer) -> Table:
    table = titled("Fleets by the formula, cheapest first", ("fleet", "quality", "USD/h"))
    for plan in answer.plans[:_MOST_PLANS]:
        table.add_row(plan.name, f"{plan.quality:.4g}", f"{plan.usd_per_hour:,.2f}")
    return table


def _cost_table(answer: Answer, prices: PriceList) -> Table:
    table = titled(
        "What it costs: replicas run day and night, tokens are the mean's, a sentence has 100",
        ("what", "USD/month", "USD/1K tokens", "USD/million sentences", "prices, USD"),
    )
    plan, cost = answer.plan, answer.cost
    if plan is not None and cost is not None:
        names = {part.capacity.option.accelerator for part in plan.parts}
        dated = ", ".join(
            f"{name} {price.usd_per_hour:g}/h ({price.as_of})"
            for name, price in prices.accelerators.items()
            if name in names
        )
        table.add_row(
            plan.name, f"{cost.per_month:,.0f}", f"{cost.per_1k_tokens:.6f}",
            f"{cost.million_sentences:.2f}", dated,
        )  # fmt: skip
    for one in answer.hosted:
        table.add_row(
            one.name, f"{one.cost.per_month:,.0f}", f"{one.cost.per_1k_tokens:.6f}",
            f"{one.cost.million_sentences:.2f}",
            f"{one.price.usd_per_1m_input:g} in, {one.price.usd_per_1m_output:g} out "
            f"({one.price.as_of})",
        )  # fmt: skip
    return table
