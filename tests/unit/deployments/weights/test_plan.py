"""A plan that no quantizer or no engine would take is refused before anything starts."""

import pytest

from deployments.weights.quantizing.plan import (
    PER_CHANNEL,
    Backend,
    Method,
    Plan,
    UnfitPlan,
    default_bits,
    largest_group,
    refuse_unfit_group,
    refuse_without_kernel,
)


def test_two_bits_are_refused_with_the_widths_that_are_served() -> None:
    with pytest.raises(UnfitPlan, match=r"--bits 2: vLLM serves awq with 4 bits only"):
        Plan(bits=2)


def test_autoawq_makes_nothing_but_awq() -> None:
    with pytest.raises(UnfitPlan, match="makes AWQ only, not int8"):
        Plan(Method.int8, Backend.autoawq, bits=8)


def test_a_group_that_does_not_divide_a_layer_is_refused_with_those_that_do() -> None:
    with pytest.raises(UnfitPlan, match=r"does not divide 576.*one of 32, 64, -1"):
        refuse_unfit_group(Plan(group_size=128), {576, 1536})


@pytest.mark.parametrize("group_size", [0, 16, 192, 576])
def test_a_group_that_no_fast_kernel_takes_is_refused(group_size: int) -> None:
    with pytest.raises(UnfitPlan, match=rf"--group-size {group_size}: vLLM serves 32, 64, 128, or"):
        Plan(group_size=group_size)


@pytest.mark.parametrize("plan", [
    Plan(group_size=64), Plan(group_size=PER_CHANNEL), Plan(Method.int8, bits=8, group_size=128),
])  # fmt: skip
def test_groups_that_divide_rows_and_no_groups_are_fine(plan: Plan) -> None:
    refuse_unfit_group(plan, {576, 1536})


def test_awq_by_rows_is_refused_where_no_engine_could_judge_it() -> None:
    plan = Plan(group_size=PER_CHANNEL)
    with pytest.raises(UnfitPlan, match=r"--group-size -1: .*groups only; take one of 32, 64, 128"):
        refuse_without_kernel(plan, has_gpu=False)
    refuse_without_kernel(plan, has_gpu=True)
    refuse_without_kernel(Plan(Method.gptq, group_size=PER_CHANNEL), has_gpu=False)


@pytest.mark.parametrize(("inputs", "group"), [
    ({4096, 11008}, 128), ({576, 1536}, 64), ({100}, PER_CHANNEL),
])  # fmt: skip
def test_the_default_group_is_the_largest_one_that_fits(inputs: set[int], group: int) -> None:
    assert largest_group(inputs) == group


@pytest.mark.parametrize(("plan", "name"), [
    (Plan(group_size=32), "awq-g32"),
    (Plan(backend=Backend.autoawq, group_size=64), "autoawq-g64"),
    (Plan(Method.gptq, bits=8, group_size=PER_CHANNEL), "gptq-8bit-channel"),
    (Plan(Method.fp8, bits=8), "fp8"),
])  # fmt: skip
def test_a_plan_has_a_short_name(plan: Plan, name: str) -> None:
    assert plan.name == name


def test_every_method_has_a_usual_width() -> None:
    assert {method: default_bits(method) for method in Method} == {
        Method.awq: 4, Method.gptq: 4, Method.int8: 8, Method.fp8: 8,
    }  # fmt: skip
