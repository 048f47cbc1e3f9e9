"""Two local runs, or two users, never meet; and what a user set stays."""

import os
import stat
from pathlib import Path

import pytest

from serve_app.commands.local.environment import private_folder, serving_environment, socket_folder

SHORT = Path("/root/.cache/tandem/run")
LONG = Path("/home/somebody/with/a/very/long/name/.cache/tandem/run")


def every_port_is_free(port: int) -> bool:
    return True


def an_environment(run_dir: Path = SHORT, **environ: str) -> dict[str, str]:
    return serving_environment(run_dir, environ, every_port_is_free)


def ports(environment: dict[str, str]) -> set[str]:
    return {value for name, value in environment.items() if "_PORT" in name}


def test_haproxy_is_on() -> None:
    environment = an_environment()

    assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert environment["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"


def test_another_ray_cluster_is_never_joined() -> None:
    assert "RAY_ADDRESS" not in an_environment(RAY_ADDRESS="10.0.0.1:6379")


def test_what_the_user_set_stays() -> None:
    environment = an_environment(RAY_USAGE_STATS_ENABLED="1", RAY_SERVE_HAPROXY_NBTHREAD="2")

    assert environment["RAY_USAGE_STATS_ENABLED"] == "1"
    assert environment["RAY_SERVE_HAPROXY_NBTHREAD"] == "2"


def test_usage_statistics_are_off_by_default() -> None:
    assert an_environment()["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize("run_dir", [SHORT, LONG])
def test_socket_paths_fit_haproxy_and_the_kernel(run_dir: Path) -> None:
    # Given
    node_id = "a" * 56
    environment = an_environment(run_dir)

    # When
    admin = Path(environment["RAY_SERVE_HAPROXY_SOCKET_PATH"])
    ray = Path(environment["RAY_TMPDIR"])
    session = ray / "ray" / "session_2026-11-21_03-59-12_586151_1234567" / "sockets"

    # Then
    assert len(str(admin.parent / node_id / admin.name)) <= 97
    assert len(str(session / "plasma_store")) <= 107


def test_a_short_run_folder_holds_its_own_sockets() -> None:
    assert socket_folder(SHORT) == SHORT


def test_two_long_run_folders_have_different_socket_folders() -> None:
    assert socket_folder(LONG) != socket_folder(LONG.with_name("other"))


def test_two_runs_share_no_port() -> None:
    # Given
    first = an_environment(Path("/tmp/first"))
    taken = {int(port) for port in ports(first)}

    # When
    second = serving_environment(Path("/tmp/first"), {}, lambda port: port not in taken)

    # Then
    assert not ports(first) & ports(second)


def test_a_run_folder_keeps_its_ports() -> None:
    assert ports(an_environment()) == ports(an_environment())


def test_a_machine_without_free_ports_is_said_so() -> None:
    with pytest.raises(OSError, match="no free ports"):
        serving_environment(SHORT, {}, lambda port: False)


def test_the_application_is_importable_beside_the_users_own_code() -> None:
    path = an_environment(PYTHONPATH="/my/code")["PYTHONPATH"].split(os.pathsep)

    assert (Path(path[0]) / "serve_app").is_dir()
    assert path[1] == "/my/code"


def test_a_run_folder_is_private(tmp_path: Path) -> None:
    # Given
    tmp_path.chmod(0o755)

    # When
    folder = private_folder(tmp_path / "run")

    # Then
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_behind_a_link_is_refused(tmp_path: Path) -> None:
    # Given
    (tmp_path / "theirs").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "theirs")

    # When, then
    with pytest.raises(PermissionError, match="somebody else"):
        private_folder(tmp_path / "run")
