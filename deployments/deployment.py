"""A TierSpec becomes a bound Serve deployment."""

import json
from hashlib import sha256
from importlib.metadata import version
from typing import Any

from ray import serve
from ray.serve._private.config import DeploymentConfig
from ray.serve.config import RequestRouterConfig
from ray.serve.deployment import Application

from deployments.spec import FakeTiming, TierSpec

_DEFAULT_MAX_NUM_SEQS = 256
# vLLM queues by priority, so the replica takes more than it can decode at once; beyond that the
# router's queue is the better place, because a cancelled request leaves it for nothing.
_ONGOING_PER_SLOT = 4
_MAX_QUEUED_REQUESTS = 4096
# Ray Serve LLM's own default.
_MAX_ADAPTERS = 16
# By name: what is behind the handle never imports what is in front of it.
_REQUEST_ROUTER = "serve_app.replica_choice.router:RemainingWorkRouter"
_ROUTING_STATS_PERIOD_S = 5.0
# Serve replaces a replica that misses three of these checks; its own take a minute and a half.
_HEALTH_CHECK_PERIOD_S = 5.0
_HEALTH_CHECK_TIMEOUT_S = 10.0
# A replica that is to go finishes its replies first; Serve's 20 s would cut the long ones.
_GRACEFUL_SHUTDOWN_S = 120.0
# Ray's own download, which this replaces, starts anew after a kill and checks no sums.
_FROM_STORE = {"callback_class": "deployments.store.node.replica:FromStore"}
# These do not make a replica another one: Serve compares its own options by itself, and the rest
# is for the router.
_NOT_OF_REPLICAS = {"deployment_config", "routing"}


class _OwnVersion(DeploymentConfig):  # type: ignore[misc]
    """Keeps the version it was made with.

    Serve overwrites it with one for the whole file, so that any change of a file, such as another
    tier, would stop and start the engines of all.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "version":
            super().__setattr__(name, value)


def deployment_name(spec: TierSpec) -> str:
    """Name of the tier's deployment; Serve allows neither `/` nor `.` in it."""
    return "tier-" + spec.model_id.replace("/", "--").replace(".", "_")


def tier_deployment(spec: TierSpec) -> Application:
    """Builds one tier: vLLM behind `TierServer`, or `FakeServer` when the spec has a `fake`.

    Deployed again, its replicas run on unless something changed that they are made of.
    """
    if spec.fake is not None:
        return _with_own_version(_fake_deployment(spec, spec.fake), spec)
    return _with_own_version(_engine_deployment(spec), spec)


def _engine_deployment(spec: TierSpec) -> Application:
    # Imported here: they load vLLM, which only the build and the replicas need.
    from ray.serve.llm import LLMConfig, build_llm_deployment

    from deployments.engine.server import TierServer

    return build_llm_deployment(
        LLMConfig(**_with_local_source(spec)),
        name_prefix="",
        override_serve_options={"name": deployment_name(spec), **_defaults(spec)},
        bind_kwargs={"adapters_folder": _adapters_folder(spec)},
        deployment_cls=TierServer,
    )


def _fake_deployment(spec: TierSpec, timing: FakeTiming) -> Application:
    from deployments.fake.server import FakeServer

    options: dict[str, Any] = {"ray_actor_options": {"num_cpus": 0}, **spec.deployment_config}
    options |= {"name": deployment_name(spec), **_defaults(spec)}
    return serve.deployment(FakeServer, **options).bind(
        spec.model_id, timing, _adapters_folder(spec), _max_adapters(spec)
    )


def _with_own_version(tier: Application, spec: TierSpec) -> Application:
    deployment = tier._bound_deployment
    options = dict(deployment._deployment_config) | {"version": version_of(spec)}
    deployment._deployment_config = _OwnVersion.model_construct(
        deployment._deployment_config.model_fields_set, **options
    )
    return tier


def version_of(spec: TierSpec) -> str:
    """The same for what makes the same replicas, by the same release."""
    made_of = spec.model_dump(mode="json", exclude=_NOT_OF_REPLICAS)
    told = json.dumps([version("tandem-serve"), made_of], sort_keys=True, default=str)
    return sha256(told.encode()).hexdigest()


def _defaults(spec: TierSpec) -> dict[str, Any]:
    """Back-pressure, choice of replica and logging; the user's own options come first.

    Ray Serve LLM's own limit is a billion requests. `request_router_config: {}` brings back
    Serve's choice by request counts.
    """
    slots = int(spec.engine_kwargs.get("max_num_seqs", _DEFAULT_MAX_NUM_SEQS))
    if spec.fake is not None:
        slots = spec.fake.max_num_seqs
    defaults: dict[str, Any] = {
        "max_ongoing_requests": slots * _ONGOING_PER_SLOT,
        "max_queued_requests": _MAX_QUEUED_REQUESTS,
        "request_router_config": RequestRouterConfig(
            request_router_class=_REQUEST_ROUTER,
            request_router_kwargs={"slots": slots},
            request_routing_stats_period_s=_ROUTING_STATS_PERIOD_S,
        ),
        "health_check_period_s": _HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": _HEALTH_CHECK_TIMEOUT_S,
        "graceful_shutdown_timeout_s": _GRACEFUL_SHUTDOWN_S,
        # The router writes one line per request; Ray's second one costs time and says less.
        "logging_config": {"enable_access_log": False},
    }
    return defaults | {k: v for k, v in spec.deployment_config.items() if k in defaults}


def _max_adapters(spec: TierSpec) -> int:
    return int((spec.lora_config or {}).get("max_num_adapters_per_replica", _MAX_ADAPTERS))


def _adapters_folder(spec: TierSpec) -> str | None:
    from deployments.local_models import resolve_source

    folder = resolve_source(spec.adapters_folder)
    return folder if isinstance(folder, str) else None


def _with_local_source(spec: TierSpec) -> dict[str, Any]:
    from deployments.local_models import resolve_source

    config = spec.ray_llm_config()
    loading = config["model_loading_config"]
    if loading.get("model_source") is not None:
        loading["model_source"] = resolve_source(loading["model_source"])
    source = str(loading.get("model_source"))
    # `s3://anonymous@bucket` is a form of Ray's own, for buckets that ask for no credentials.
    if source.startswith(("s3://", "file://")) and not source.startswith("s3://anonymous@"):
        config.setdefault("callback_config", _FROM_STORE)
    return config
