"""A Serve file of fake tiers, for measuring everything but the engine. Data only."""

from collections.abc import Mapping
from typing import Any

from serve_app.bench.client import Address


def fake_file(
    address: Address, timings: Mapping[str, Mapping[str, Any]], **more: Any
) -> dict[str, Any]:
    """Tandem at `address`, a fake tier for each timing, each better and dearer than the last.

    Args:
        timings: what `fake` holds, by the tier's name.
        more: further keys of `args`.
    """
    tiers = [
        {
            "model_loading_config": {"model_id": name},
            "routing": {"quality": {"default": float(rank)}, "usd_per_hour": 0.05 * rank},
            "fake": dict(timing),
        }
        for rank, (name, timing) in enumerate(timings.items(), start=1)
    ]
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": address.host, "port": address.port},
        "applications": [
            {
                "name": "tandem",
                "route_prefix": "/",
                "import_path": "serve_app.app:build",
                "args": {"llm_configs": tiers, **more},
            }
        ],
    }
