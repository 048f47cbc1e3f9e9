"""When a tier that is deployed again is another one, so that its replicas are replaced."""

from typing import Any

import pytest

from deployments.spec import TierSpec

SPEC: dict[str, Any] = {"model_loading_config": {"model_id": "small"}, "fake": {"start_s": 1.0}}


# Of pydantic, while Ray Serve is imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def a_version(**changed: Any) -> str:
    from deployments.deployment import version_of

    return version_of(TierSpec.model_validate(SPEC | changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"routing": {"quality": {"default": 9.0}, "usd_per_hour": 2.0}},
        {"deployment_config": {"num_replicas": 3}},
    ],
)
def test_what_only_serve_or_the_router_look_at_leaves_the_replicas_alone(
    changed: dict[str, Any],
) -> None:
    assert a_version(**changed) == a_version()


@pytest.mark.parametrize(
    "changed",
    [
        {"fake": {"start_s": 2.0}},
        {"engine_kwargs": {"max_num_seqs": 8}},
        {"model_loading_config": {"model_id": "small", "model_source": "elsewhere"}},
        {"runtime_env": {"env_vars": {"A": "1"}}},
    ],
)
def test_what_replicas_are_made_of_replaces_them(changed: dict[str, Any]) -> None:
    assert a_version(**changed) != a_version()


def test_the_tiers_version_is_not_overwritten_by_the_files() -> None:
    from deployments.deployment import tier_deployment, version_of

    # Given a tier, copied as Serve copies it
    spec = TierSpec.model_validate(SPEC | {"deployment_config": {"num_replicas": 2}})
    config = tier_deployment(spec)._bound_deployment.options(num_replicas=3)._deployment_config

    # When Serve gives it the file's version
    config.version = "of the file"

    # Then it keeps its own, and all else is as it was told
    assert (config.version, config.num_replicas) == (version_of(spec), 3)
