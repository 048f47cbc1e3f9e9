"""Where the policies are put."""

from typing import Any

from serve_app.config import AppConfig
from serve_app.scaling.wiring import router_options, scaled_tier

BOUNDS = {"min_replicas": 0, "max_replicas": 4}


def a_file(scaling: dict[str, Any] | None = None, **autoscaling: Any) -> AppConfig:
    tier = {
        "model_loading_config": {"model_id": "large"},
        "fake": {},
        "deployment_config": {"autoscaling_config": BOUNDS | autoscaling},
    }
    return AppConfig.model_validate({"llm_configs": [tier], "scaling": scaling or {}})


def told_of_tier(config: AppConfig) -> dict[str, Any]:
    spec = scaled_tier(config.llm_configs[0], config.scaling, accelerators=2)
    told: dict[str, Any] = spec.deployment_config["autoscaling_config"]
    return told


def test_a_tier_that_scales_follows_the_routers() -> None:
    told = told_of_tier(a_file(look_back_period_s=9.0))
    assert told["policy"]["policy_kwargs"]["accelerators"] == 2
    assert told["policy"]["policy_kwargs"]["tier"] == "large"
    assert told | BOUNDS | {"look_back_period_s": 9.0} == told


def test_a_policy_of_the_users_own_is_left_alone() -> None:
    config = a_file(policy={"policy_function": "mine:policy"})
    assert told_of_tier(config)["policy"] == {"policy_function": "mine:policy"}
    assert router_options({"num_replicas": 2}, config) == {"num_replicas": 2}


def test_serves_own_policy_can_be_asked_for() -> None:
    assert told_of_tier(a_file({"by": "ongoing-requests"})) == BOUNDS


def test_a_fixed_number_of_routers_stays_fixed_and_is_heard() -> None:
    options = router_options({"num_replicas": 2, "name": "router"}, a_file())
    told = options["autoscaling_config"]
    assert "num_replicas" not in options
    assert (told["min_replicas"], told["max_replicas"]) == (2, 2)
    assert told["policy"] == {"policy_function": "serve_app.scaling.policy:heard_from_routers"}


def test_routers_that_scale_keep_their_bounds() -> None:
    options = router_options({"autoscaling_config": {"max_replicas": 3}}, a_file())
    assert options["autoscaling_config"]["max_replicas"] == 3
