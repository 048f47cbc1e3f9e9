"""A script: Ray Serve with HAProxy loses clients that leave. `python docs/haproxy_lost_aborts.py`

A handler sleeps behind HAProxy while raw clients send a request and close. Sent in one write, every
one is noticed. Sent as most clients do, headers first and body after, none is: with Ray's
`option splice-request`, HAProxy no longer watches that socket. Exit status 0: every handler was
cancelled within a second; 3: some were not. With the remedy, from the repository's root:

    python docs/haproxy_lost_aborts.py --with-remedy
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from serve_app.haproxy.settings import HAPROXY_SETTINGS

PORT = 18000
ROUNDS = 10
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


def environment(folder: str) -> dict[str, str]:
    """What Ray must find before it is imported."""
    variables = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
        "RAY_SERVE_HAPROXY_METRICS_PORT": "18101",
        "RAY_SERVE_HAPROXY_STATS_PORT": "18404",
    }
    return variables | (HAPROXY_SETTINGS if "--with-remedy" in sys.argv else {})


async def leave(name: str, gap_s: float | None) -> None:
    """Sends a request, in one write or in two `gap_s` apart, waits a little, and leaves."""
    body = name.encode()
    _, writer = await asyncio.open_connection("127.0.0.1", PORT)
    for part in [HEAD % len(body) + body] if gap_s is None else [HEAD % len(body), body]:
        writer.write(part)
        await asyncio.sleep(gap_s or 0)
    await asyncio.sleep(0.5)
    writer.close()


async def rounds() -> None:
    for number in range(ROUNDS):
        await asyncio.gather(leave(f"one-write-{number}", None), leave(f"two-{number}", 0.005))
    await asyncio.sleep(1.0)


def verdict(log: Path) -> int:
    noticed = log.read_text().split()
    for kind in ("one-write", "two"):
        count = sum(name.startswith(kind) for name in noticed)
        print(f"{kind:10} {count} of {ROUNDS} noticed")
    return 0 if len(noticed) == 2 * ROUNDS else 3


def main() -> int:
    folder = tempfile.mkdtemp(prefix="aborts-", dir="/tmp")
    os.environ.update(environment(folder))
    import ray
    from ray import serve
    from starlette.requests import Request

    log = Path(folder) / "noticed"
    log.touch()

    @serve.deployment(max_ongoing_requests=500)
    class Sleeper:
        async def __call__(self, request: Request) -> None:
            name = (await request.body()).decode()
            try:
                await asyncio.sleep(8)
            except asyncio.CancelledError:
                with log.open("a") as file:
                    file.write(f"{name}\n")
                raise

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Sleeper.bind())
    asyncio.run(rounds())
    status = verdict(log)
    serve.shutdown()
    ray.shutdown()
    return status


if __name__ == "__main__":
    sys.exit(main())
