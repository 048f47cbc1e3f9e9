"""The servers that `tandem bench peers` compares: how each is started, and how it is asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.spec import TierSpec
from serve_app.bench.calibration.live import at_address
from serve_app.bench.client import Address
from serve_app.bench.comparison.contenders import Contender, Stand, always, by_length
from serve_app.bench.overhead.engine import cheapest
from serve_app.bench.peers import bare_vllm, litellm
from serve_app.bench.peers.litellm_tiers import ALONE, AUTO, tiered
from serve_app.bench.peers.ray_serve_llm import ray_serve_llm, wait_until_it_answers
from serve_app.bench.processes import serving_all
from serve_app.bench.traffic.workload import ROUTED
from serve_app.commands.bench.server import HOST, TANDEM, started, tandem
from serve_app.commands.local.instance import log_file
from serve_app.commands.local.watch import last_lines
from serve_app.commands.serve_file import ServeFile

TANDEM_KEY, REFERENCE = "tandem", "bare-small"
_LITELLM = Address(HOST, 18101)
_BARE = (Address(HOST, 18102), Address(HOST, 18103))
_RAY = Address(HOST, 18104)


@dataclass(frozen=True, slots=True)
class Machines:
    """What the contenders are made of.

    litellm: the Python that has it. folder: for configurations and logs.
    """

    file: ServeFile
    litellm: Path
    folder: Path

    @property
    def small(self) -> TierSpec:
        return cheapest(self.file.tiers)

    @property
    def large(self) -> TierSpec:
        return max(self.file.tiers, key=lambda tier: tier.routing.quality["default"])


def quality_of(file: ServeFile) -> dict[str, float]:
    """The declared quality, by every name that a contender gives the tier."""
    by_id = {tier.model_id: tier.routing.quality["default"] for tier in file.tiers}
    return by_id | {f"{name}{ALONE}": quality for name, quality in by_id.items()}


def stands(machines: Machines, threshold_tokens: int) -> list[Stand]:
    """Everyone that is compared.

    Raises:
        ValueError: the file has not two tiers.
    """
    if len(machines.file.tiers) != 2 or machines.small is machines.large:
        raise ValueError(
            "the Serve file needs two tiers, one cheapest and the other better; it has "
            f"{', '.join(tier.model_id for tier in machines.file.tiers)}"
        )
    small, large = machines.small, machines.large
    both_usd = small.routing.usd_per_hour + large.routing.usd_per_hour
    route = by_length(threshold_tokens, shorter=large.model_id, longer=small.model_id)
    probed = small.model_id
    ours = Contender(TANDEM_KEY, "Tandem", TANDEM, always("auto"), probed, both_usd, ROUTED)
    proxy = Contender("litellm", "LiteLLM, by latency", _LITELLM, always(AUTO), probed, both_usd)
    threshold = Contender(
        "ray-serve-llm", f"Ray Serve LLM, prompts to {threshold_tokens} tokens to the better",
        _RAY, route, probed, both_usd,
    )  # fmt: skip
    alone = [
        Contender(key, f"bare vLLM, {tier.model_id} only", address, always(tier.model_id),
                  tier.model_id, tier.routing.usd_per_hour)
        for key, tier, address in zip(
            (REFERENCE, "bare-large"), (small, large), _BARE, strict=True
        )
    ]  # fmt: skip
    return [
        Stand("Tandem", lambda: _tandem(machines), (ours,)),
        Stand("two bare vLLM servers and LiteLLM", lambda: _bare(machines), (proxy, *alone)),
        Stand("Ray Serve LLM", lambda: _ray(machines), (threshold,)),
    ]


@contextmanager
def _tandem(machines: Machines) -> Iterator[None]:
    content = at_address(machines.file.content, TANDEM)
    for application in content["applications"]:
        # Each start learns anew: no round profits from another.
        args: dict[str, Any] = application["args"]
        args["routing"] = {**args.get("routing", {}), "keeps_state": False}
        args["telemetry"] = {**args.get("telemetry", {}), "decision_log": False}
    with tandem(content, machines.folder):
        yield


@contextmanager
def _bare(machines: Machines) -> Iterator[None]:
    backends = dict(zip((machines.small.model_id, machines.large.model_id), _BARE, strict=True))
    proxy = litellm.command(machines.litellm, _LITELLM, tiered(backends), machines.folder)
    engines = {
        address: bare_vllm.command(tier, address, machines.folder / f"bare-{tier.model_id}.log")
        for tier, address in zip((machines.small, machines.large), _BARE, strict=True)
    }
    with serving_all({**engines, _LITELLM: proxy}):
        yield


@contextmanager
def _ray(machines: Machines) -> Iterator[None]:
    models = [tier.model_id for tier in machines.file.tiers]
    content = ray_serve_llm(machines.file.content, _RAY)
    with started(content, machines.folder, _RAY) as instance:
        wait_until_it_answers(
            _RAY, models, lambda: instance.is_alive,
            lambda: last_lines(log_file(machines.folder)),
        )  # fmt: skip
        yield
