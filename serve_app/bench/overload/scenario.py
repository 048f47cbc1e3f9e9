"""What is served and asked under overload: a Serve file, bodies and times of arrival. Data only.

The tiers' steps are long and their batches small, so that the machine has little to do at three
times their capacity: what is measured is the router's judgement, not its speed. The
deadline is one that 98 of 100 replies meet on the slow tier with a full batch: with one at the
edge, the noise of the last few hundred lengths would say whether that tier is used at all.
"""

import random
from dataclasses import dataclass
from typing import Any

from serve_app.bench.client import Address

SLO_S = 12.0
_SLOTS = 16
_STEP_S = {"small": 0.03, "large": 0.06}
_STEP_PER_SEQUENCE_S = 5e-4
_PREFILL_S, _PREFILL_PER_TOKEN_S = 0.005, 5e-5
_NOISE = 0.05
# Medians and spreads of lognormal lengths, in tokens: a reply of 60 in the mean.
_REPLY, _PROMPT = (50.0, 0.6), (120.0, 0.6)
_LONGEST_REPLY, _LONGEST_PROMPT = 300, 800
_MEAN_REPLY = 60.0


@dataclass(frozen=True, slots=True)
class Planned:
    """One request; at_s: after the phase began. Lengths in tokens; slo_s: for the whole reply."""

    at_s: float
    prompt_tokens: int
    output_tokens: int
    slo_s: float = SLO_S

    @property
    def body(self) -> dict[str, Any]:
        """A chat body that tells the engine how long its reply gets, and the router nothing."""
        return {
            "model": "auto",
            "messages": [{"role": "user", "content": " ".join(["word"] * self.prompt_tokens)}],
            "max_tokens": _LONGEST_REPLY,
            "slo": {"e2e_ms": self.slo_s * 1e3, "on_infeasible": "reject"},
            "fake": {"output_tokens": self.output_tokens},
        }


def planned(rate_per_s: float, duration_s: float, seed: int, slo_s: float = SLO_S) -> list[Planned]:
    """Poisson arrivals over so many seconds; the same for the same seed."""
    draw = random.Random(seed)

    def tokens(median: float, spread: float, most: int) -> int:
        return min(most, max(4, round(median * draw.lognormvariate(0.0, spread))))

    requests: list[Planned] = []
    at_s = draw.expovariate(rate_per_s)
    while at_s < duration_s:
        prompt, reply = tokens(*_PROMPT, _LONGEST_PROMPT), tokens(*_REPLY, _LONGEST_REPLY)
        requests.append(Planned(at_s, prompt, reply, slo_s))
        at_s += draw.expovariate(rate_per_s)
    return requests


def capacity_per_s() -> float:
    """Requests per second that both tiers finish with full batches, roughly: prefill left out."""
    return sum(
        _SLOTS / ((step_s + _STEP_PER_SEQUENCE_S * _SLOTS) * _MEAN_REPLY)
        for step_s in _STEP_S.values()
    )


def fake_tiers(address: Address, decisions: str) -> dict[str, Any]:
    """A Serve file: a fast and a slow fake tier, listening at `address`.

    Args:
        decisions: folder of the decision log, which has the evidence when a target is missed.
    """
    tiers = [
        {
            "model_loading_config": {"model_id": name},
            "routing": {"quality": {"default": quality}, "usd_per_hour": quality},
            "fake": {
                "prefill_base_s": _PREFILL_S, "prefill_per_token_s": _PREFILL_PER_TOKEN_S,
                "step_base_s": step_s, "step_per_sequence_s": _STEP_PER_SEQUENCE_S,
                "max_num_seqs": _SLOTS, "noise": _NOISE,
            },
        }
        for quality, (name, step_s) in enumerate(_STEP_S.items(), start=1)
    ]  # fmt: skip
    args = {
        "llm_configs": tiers,
        "routing": {"keeps_state": False},
        "telemetry": {"decision_log_folder": decisions},
    }
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": address.host, "port": address.port},
        "applications": [
            {
                "name": "tandem",
                "route_prefix": "/",
                "import_path": "serve_app.app:build",
                "args": args,
            }
        ],
    }
