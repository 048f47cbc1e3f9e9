"""A script: `serve run FILE` in a Ray cluster of its own, that ends when the deployment fails.

`serve run` alone joins a cluster that it finds, starts the dashboard, whose ten processes take a
gigabyte and most of Ray's start on two cores, and goes on for ever with an application that could
not be deployed, telling nobody.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import ray
from ray import serve
from ray.serve.schema import ApplicationStatus
from ray.serve.scripts import cli

from serve_app.haproxy.guard import guarded

POLL_S = 1.0


@contextmanager
def one_node() -> Iterator[None]:
    """Ray on this machine, for this process alone; it ends with the process."""
    ray.init(address="local", namespace="serve", include_dashboard=False)
    yield


def main(serve_file: str, cluster: Callable[[], AbstractContextManager[None]] = one_node) -> None:
    """Deploys the file and serves until SIGINT or SIGTERM, then lets requests finish.

    Raises:
        SystemExit: it cannot be deployed.
    """
    # A shell starts background jobs with SIGINT ignored, and that is inherited.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with cluster():
        try:
            cli(["run", "--non-blocking", serve_file], standalone_mode=False)
            wait_until_deployed()
            with guarded():
                signal.pause()
        except KeyboardInterrupt:
            print("stopping", flush=True)
        finally:
            serve.shutdown()


def wait_until_deployed() -> None:
    """Returns when every application runs; raises SystemExit with the reason when one failed."""
    applications = serve.status().applications
    while any(app.status is not ApplicationStatus.RUNNING for app in applications.values()):
        for name, app in applications.items():
            if app.status is ApplicationStatus.DEPLOY_FAILED:
                causes = [d.message for d in app.deployments.values() if d.message]
                why = "\n".join([app.message, *causes])
                raise SystemExit(f"{why}\n\nthe application {name!r} was not deployed")
        time.sleep(POLL_S)
        applications = serve.status().applications


if __name__ == "__main__":
    main(sys.argv[1])
