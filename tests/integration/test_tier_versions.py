"""When a tier that is deployed again is another one, so that its replicas are replaced."""

from pathlib import Path
from typing import Any

import pytest

from deployments.spec import TierSpec
from tests.e2e.conftest import local_args

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


@pytest.mark.filterwarnings("ignore")
def test_serve_restarts_only_the_engine_whose_entry_changed(tmp_path: Path) -> None:
    from ray.serve._private.config import DeploymentConfig
    from ray.serve._private.version import DeploymentVersion

    from deployments.deployment import tier_deployment

    def as_serve_sees_it(entry: dict[str, Any], version_of_file: str) -> DeploymentVersion:
        deployment = tier_deployment(TierSpec.model_validate(entry))._bound_deployment
        deployment._deployment_config.version = version_of_file
        sent = deployment._deployment_config.to_proto_bytes()
        config, made = DeploymentConfig.from_proto_bytes(sent), deployment._replica_config
        return DeploymentVersion(
            config.version, config, made.ray_actor_options,
            made.placement_group_bundles, made.placement_group_strategy,
        )  # fmt: skip

    # Given a tier on the real engine
    source = {"model_id": "small", "model_source": str(tmp_path)}
    entry = local_args()["llm_configs"][0] | {"model_loading_config": source}
    before = as_serve_sees_it(entry, "one")
    # When its file is deployed again, with and without a change of its entry
    changed = entry | {"engine_kwargs": entry["engine_kwargs"] | {"max_num_seqs": 8}}
    # Then it is the same to Serve, or is replaced
    assert not before.requires_actor_restart(as_serve_sees_it(entry, "two"))
    assert before.requires_actor_restart(as_serve_sees_it(changed, "two"))


def test_the_tiers_version_is_not_overwritten_by_the_files() -> None:
    from deployments.deployment import tier_deployment, version_of

    # Given a tier, copied as Serve copies it
    spec = TierSpec.model_validate(SPEC | {"deployment_config": {"num_replicas": 2}})
    config = tier_deployment(spec)._bound_deployment.options(num_replicas=3)._deployment_config

    # When Serve gives it the file's version
    config.version = "of the file"

    # Then it keeps its own, and all else is as it was told
    assert (config.version, config.num_replicas) == (version_of(spec), 3)
