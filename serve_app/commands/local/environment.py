"""The environment that a local `serve run` needs, apart from every other Ray on the machine.

>>> subprocess.Popen(["serve", "run", ...], env=serving_environment(run_dir, os.environ))
"""

import hashlib
import os
import resource
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from serve_app.haproxy.settings import HAPROXY_SETTINGS, most_connections

REPOSITORY = Path(__file__).parents[3]

# HAProxy takes socket paths of 97 characters, and Serve makes FOLDER/<56 of a node>/admin.sock;
# the kernel takes 107, and Ray makes FOLDER/ray/session_<date>_<pid>/sockets/<name>.
LONGEST_SOCKET_FOLDER = 28

# Below the ephemeral ports, above the ones that Ray gives its workers.
FIRST_PORT, LAST_PORT, PORTS_OF_A_RUN = 20_000, 30_000, 100


def is_free(port: int) -> bool:
    """Whether nothing listens on the port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def serving_environment(
    run_dir: Path, environ: Mapping[str, str], is_free: Callable[[int], bool] = is_free
) -> dict[str, str]:
    """`environ` with what makes Ray Serve fast, private and quiet on one machine.

    HAProxy in front of the replicas quadruples the requests per second here. Its files and Ray's
    lie in a folder of this run, and its inner ports are this run's own: with Serve's fixed ones,
    the HAProxy of one cluster sends requests to the replicas of another. What `environ` sets
    stays, but for RAY_ADDRESS: a local run has its own cluster.

    Args:
        run_dir: private folder of this run; make it and its `socket_folder` with `private_folder`.
    """
    sockets = socket_folder(run_dir)
    port = first_port(run_dir, is_free)
    defaults = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(sockets / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(sockets / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(sockets),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(sockets / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(sockets / "metrics.sock"),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(port),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(port + 1),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(port + 2),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(port + 3),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(port + 10),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(port + PORTS_OF_A_RUN - 1),
        # How long a stopped ingress replica waits for load balancers to hear of it. Here there is
        # one, on the same machine; with Serve's 30 s, stopping takes 37.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        "RAY_TMPDIR": str(sockets),
        # Ray runs its workers at nice 15; an engine must not yield to whatever else runs here.
        "RAY_worker_niceness": "0",
        **HAPROXY_SETTINGS,
        "RAY_SERVE_HAPROXY_MAXCONN": most_connections(_file_limit()),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    kept = {name: value for name, value in environ.items() if name != "RAY_ADDRESS"}
    path = [str(REPOSITORY), *filter(None, [environ.get("PYTHONPATH")])]
    return defaults | kept | {"PYTHONPATH": os.pathsep.join(path)}


def _file_limit() -> int:
    """File descriptors that a process of this user may open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def first_port(run_dir: Path, is_free: Callable[[int], bool]) -> int:
    """The first of PORTS_OF_A_RUN ports: the same for the same run folder, unless they are taken.

    Raises:
        OSError: when every block of ports is taken.
    """
    blocks: list[int] = list(range(FIRST_PORT, LAST_PORT, PORTS_OF_A_RUN))
    begin = int(digest(run_dir), 16) % len(blocks)
    for block in blocks[begin:] + blocks[:begin]:
        if all(is_free(port) for port in (*range(block, block + 4), block + 10)):
            return block
    raise OSError(f"no free ports between {FIRST_PORT} and {LAST_PORT}")


def socket_folder(run_dir: Path) -> Path:
    """`run_dir`, or a folder of its own in /tmp when socket paths below it would be too long."""
    if len(str(run_dir)) <= LONGEST_SOCKET_FOLDER:
        return run_dir
    return Path("/tmp") / f"tandem-{digest(run_dir)}"


def digest(run_dir: Path) -> str:
    """Names user and folder in 12 hexadecimal digits."""
    return hashlib.sha256(f"{os.getuid()} {run_dir}".encode()).hexdigest()[:12]


def private_folder(folder: Path) -> Path:
    """Makes the folder with mode 700.

    Raises:
        PermissionError: when it exists and belongs to somebody else.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else; remove it or set TANDEM_HOME")
    folder.chmod(0o700)
    return folder
