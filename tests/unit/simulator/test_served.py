"""The simulated engine beside one that served, by the decision log of a router."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

import pytest

from serve_app.simulator.engine import EngineTiming, Replica
from serve_app.simulator.validation.one_machine import Machine, Pace, Reply
from serve_app.simulator.validation.pace import fitted_pace
from serve_app.simulator.validation.served import compare, read_replies

TIMING = EngineTiming(
    weights_s=0.02, token_s=8e-4, context_token_s=2e-6, sequence_s=2e-3, prefill_s=0.01,
    log_noise=0.05,
)  # fmt: skip
HOP_S = 0.02


def log_lines(count: int, gap_s: float, began_s: float, seed: int) -> Iterator[str]:
    """What a router would log of so many requests, which came so far apart on average."""
    draw = random.Random(seed)
    engine = Replica(
        TIMING, max_num_seqs=16, max_batched_tokens=2048, kv_tokens=100_000, noise=draw
    )
    asked, now = {}, began_s
    for index in range(count):
        now += draw.expovariate(1 / gap_s)
        asked[index] = (now, draw.randint(30, 1500), draw.randint(8, 200))
        engine.submit(index, prompt_tokens=asked[index][1], output_tokens=asked[index][2], now=now)
    for end in engine.advance(float("inf")):
        arrived_at_s, prompt_tokens, output_tokens = asked[int(end.request_id)]
        yield json.dumps({
            "arrived_at_s": arrived_at_s, "status": 200, "tier": "small",
            "output_tokens": output_tokens,
            "e2e_ms": (end.finished_at_s - arrived_at_s + HOP_S) * 1e3,
            "candidates": [{"tier": "small", "prompt_tokens": prompt_tokens}],
        })  # fmt: skip


def test_a_timing_fitted_to_warm_ups_foretells_other_loads() -> None:
    # Given an engine's replies to two warm-ups and two loads, the second one with queues
    parts = [(20, 4.0), (40, 4.0), (20, 1.0), (40, 1.0)]
    lines = [
        line
        for seed, (count, gap_s) in enumerate(parts)
        for line in log_lines(count, gap_s, began_s=1000.0 * seed, seed=seed)
    ]
    # When it is simulated with what the warm-ups taught
    compared = compare(read_replies([*lines, '{"half a li']), [count for count, _ in parts])
    # Then quantiles of the scored loads come near
    assert [one.load for one in compared] == [1, 2]
    for one in compared:
        assert one.simulated_s == pytest.approx(one.measured_s, rel=0.1)


def test_a_load_is_judged_over_all_its_rounds() -> None:
    # Given two rounds of one load, the one after the other
    parts = [(10, 4.0), (30, 4.0)]
    lines = [
        line
        for seed, (count, gap_s) in enumerate(2 * parts)
        for line in log_lines(count, gap_s, began_s=1000.0 * seed, seed=seed)
    ]
    [compared] = compare(read_replies(lines), [count for count, _ in parts], num_rounds=2)
    # Then what is measured are the replies of both
    loads = [*lines[10:40], *lines[50:80]]
    times_s = [json.loads(line)["e2e_ms"] / 1e3 for line in loads]
    assert compared.measured_s[0] == pytest.approx(median(times_s))
    assert compared.simulated_s == pytest.approx(compared.measured_s, rel=0.1)


def test_sizes_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="holds 3 replies, the sizes say 4"):
        compare(read_replies(log_lines(3, 1.0, 0.0, seed=1)), [2, 2])


def test_engines_of_one_machine_slow_each_other_only_while_both_work() -> None:
    machine = Machine({"small": TIMING, "large": TIMING}, {"small": 0.0, "large": 0.0}, 2.0)
    one = Reply("small", 0.0, 100, 100, 1.0)
    [alone_s] = machine.e2e_s([one])
    both_s = machine.e2e_s([one, replace(one, tier="large")])
    apart_s = machine.e2e_s([one, replace(one, tier="large", arrived_at_s=100.0)])
    assert both_s == pytest.approx([2 * alone_s] * 2, rel=0.1)
    assert apart_s == pytest.approx([alone_s] * 2, rel=0.1)


def test_a_reply_that_begins_later_slows_nothing_before_it() -> None:
    machine = Machine({"small": TIMING, "large": TIMING}, {"small": 0.0, "large": 0.0}, 3.0)
    first = Reply("small", 0.0, 100, 400, 1.0)
    [alone_s] = machine.e2e_s([first])
    # When another engine begins half-way
    [slowed_s, _] = machine.e2e_s(
        [first, replace(first, tier="large", arrived_at_s=alone_s / 2, output_tokens=4000)]
    )
    # Then one half took its usual time, the other three times that
    assert slowed_s == pytest.approx(2 * alone_s, rel=0.1)


def test_a_machine_that_was_slow_for_a_while_is_found_out_by_every_other_reply() -> None:
    # Given replies of a machine that took twice as long between the second and the fourth minute
    machine = Machine({"small": replace(TIMING, log_noise=0.0)}, {"small": 0.0}, 1.0)
    asked = [Reply("small", 4.0 * index, 200, 60, 1.0) for index in range(90)]
    true_pace = Pace(60.0, (1.0, 1.0, 2.0, 2.0, 1.0, 1.0))
    replies = [
        replace(reply, e2e_s=e2e_s)
        for reply, e2e_s in zip(asked, machine.e2e_s(asked, true_pace), strict=True)
    ]
    # When the pace is taken from the one half
    chosen = [index % 2 == 0 for index in range(90)]
    pace = fitted_pace(machine, replies, chosen)
    # Then it foretells the other
    assert pace.factor(30.0) == pytest.approx(1.0, abs=0.1)
    assert pace.factor(180.0) == pytest.approx(2.0, abs=0.2)
    simulated_s = machine.e2e_s(replies, pace)
    errors = [
        abs(e2e_s / reply.e2e_s - 1)
        for reply, e2e_s, one in zip(replies, simulated_s, chosen, strict=True)
        if not one
    ]
    assert median(errors) < 0.1
