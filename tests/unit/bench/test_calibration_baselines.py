import math

import pytest

from serve_app.bench.calibration.baselines import (
    BASELINES,
    Aibrix,
    Baseline,
    GlobalQuantile,
    SemanticRouter,
    Window,
    foretold,
)
from serve_app.bench.calibration.replay import Forecasted
from serve_app.routing.latency import ReplyTime
from serve_app.routing.learning.calibration import Calibrator
from serve_app.routing.lengths.output import OutputLengths
from serve_app.routing.lengths.reply import LengthQuery
from serve_app.simulator.trace import Request


def a_reply(
    arrived_at_s: float = 0.0,
    e2e_s: float = 1.0,
    ttft_s: float = 0.1,
    prompt_tokens: int = 100,
    output_tokens: int = 10,
) -> Forecasted:
    length = OutputLengths(100).reply(LengthQuery("default", prompt_tokens, None, 1, 4096))
    forecast = Calibrator(is_measured=True).forecast(
        ReplyTime(0.0, 0.1, 0.01), length, prompt_tokens=prompt_tokens
    )
    request = Request(arrived_at_s, prompt_tokens, output_tokens)
    return Forecasted(request, 0.0, forecast, e2e_s, ttft_s)


def taught(baseline: Baseline, *replies: Forecasted) -> Baseline:
    for reply in replies:
        baseline.observe(reply)
    return baseline


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_says_nothing_before_the_first_reply(name: str) -> None:
    assert math.isnan(BASELINES[name]().quantile_s(a_reply().request, 0.95))


def test_the_global_quantile_is_that_of_the_last_500_replies() -> None:
    old = [a_reply(e2e_s=1_000.0)] * 500
    new = [a_reply(e2e_s=float(second)) for second in range(500)]
    baseline = taught(GlobalQuantile(), *old, *new)
    assert baseline.quantile_s(a_reply().request, 0.5) == 249.5
    assert baseline.quantile_s(a_reply().request, 1.0) == 499.0


def test_the_semantic_router_adds_a_ttft_and_mean_length_times_a_tpot() -> None:
    replies = (
        a_reply(e2e_s=1.0, ttft_s=0.1, output_tokens=10),
        a_reply(e2e_s=6.2, ttft_s=0.2, output_tokens=31),
    )
    baseline = taught(SemanticRouter(), *replies)
    # TTFT p100 is 0.2 s, TPOT p100 is 6.0 / 30, the mean length 20.5 tokens.
    assert baseline.quantile_s(a_reply().request, 1.0) == pytest.approx(0.2 + 19.5 * 0.2)


def test_one_token_replies_teach_the_semantic_router_no_tpot() -> None:
    baseline = taught(SemanticRouter(), a_reply(output_tokens=1))
    assert math.isnan(baseline.quantile_s(a_reply().request, 0.5))


def test_aibrix_says_the_mean_of_the_prompts_bucket_at_every_level() -> None:
    replies = (
        a_reply(prompt_tokens=120, e2e_s=1.0),
        a_reply(prompt_tokens=130, e2e_s=3.0),
        a_reply(prompt_tokens=1_000, e2e_s=20.0),
    )
    baseline = taught(Aibrix(), *replies)
    assert baseline.quantile_s(Request(0.0, 128, 1), 0.5) == 2.0
    assert baseline.quantile_s(Request(0.0, 128, 1), 0.99) == 2.0
    assert baseline.quantile_s(Request(0.0, 8, 1), 0.5) == 8.0


def test_aibrix_forgets_the_oldest_of_a_thousand_replies() -> None:
    first, later = a_reply(prompt_tokens=8, e2e_s=5.0), a_reply(prompt_tokens=100, e2e_s=2.0)
    baseline = taught(Aibrix(), first, *[later] * 1_000)
    assert baseline.quantile_s(Request(0.0, 8, 1), 0.5) == 2.0


def test_a_baseline_learns_from_a_reply_only_once_it_has_finished() -> None:
    replies = [
        a_reply(arrived_at_s=0.0, e2e_s=10.0),
        a_reply(arrived_at_s=1.0, e2e_s=2.0),
        a_reply(arrived_at_s=4.0, e2e_s=1.0),
        a_reply(arrived_at_s=11.0, e2e_s=1.0),
    ]
    said = foretold(GlobalQuantile(), replies, (1.0,))
    assert [math.isnan(first) for (first,) in said] == [True, True, False, False]
    assert [bound for (bound,) in said[2:]] == [2.0, 10.0]


def test_a_window_drops_its_oldest_value_also_among_equals() -> None:
    window = Window(2)
    for value in (3.0, 3.0, 1.0):
        window.add(value)
    assert (window.quantile(0.0), window.quantile(1.0)) == (1.0, 3.0)
