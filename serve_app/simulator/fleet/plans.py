"""When replicas come, go and die. Data only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scaling:
    """Ray Serve's autoscaling of one tier, by requests per replica; times in seconds.

    cold_start_s: from the decision until a new replica serves; it is paid for from the first.
    """

    min_replicas: int
    max_replicas: int
    target_ongoing_requests: float
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    cold_start_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A replica of a tier dies at a time; another one serves in its place after `down_s`."""

    tier: str
    at_s: float
    down_s: float
