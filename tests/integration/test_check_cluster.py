"""`tandem check --cluster` with Ray's own schema, its `prepare_config` and EC2's model."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from deployments.schemas import cluster
from serve_app.check.cluster.file import CheckedCluster, check_cluster
from serve_app.commands.check.cluster import check_cluster_file
from serve_app.commands.serve_file import read_serve_file

FILES = ("aws.yaml", "gcp.yaml", "onprem.yaml", "kuberay/rayservice.yaml")
MODELS = read_serve_file(Path("models.yaml"))

pytestmark = pytest.mark.filterwarnings("ignore")


def check(path: Path) -> CheckedCluster:
    return check_cluster(path, MODELS.content, MODELS.tiers, cluster)


def check_with(name: str, old: str, new: str, folder: Path) -> tuple[CheckedCluster, int]:
    """The file with the first `old` replaced, and the line of that."""
    text = (Path("cluster") / name).read_text()
    assert old in text
    changed = folder / Path(name).name
    changed.write_text(text.replace(old, new, 1))
    return check(changed), text[: text.index(old)].count("\n") + 1


@pytest.mark.parametrize("name", FILES)
def test_our_own_files_are_fine_and_hold_every_replica(name: str) -> None:
    checked = check(Path("cluster") / name)

    assert checked.is_fine, checked.findings
    assert all("CHANGE-ME" in finding.message for finding in checked.findings)
    assert [tier.num_placed for tier in checked.tiers] == [4, 2]
    assert all(cost.price is not None for cost in checked.costs)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("aws.yaml", "max_workers:", "max_worker:"),
        ("aws.yaml", "idle_timeout_s:", "idle_timout_s:"),
        ("aws.yaml", "InstanceMarketOptions:", "InstanceMarketOption:"),
        ("aws.yaml", "SpotInstanceType:", "SpotInstancTyp:"),
        ("aws.yaml", "VolumeType: gp3", "VolumeType: gp33"),
        ("aws.yaml", "InstanceType: p4de.24xlarge", "InstanceType: p4de.24xlarg"),
        ("aws.yaml", "VolumeSize: 150", "VolumeSize: large"),
        ("gcp.yaml", "idle_timeout_minutes:", "idle_timeout_minute:"),
        ("gcp.yaml", "machineType:", "machinType:"),
        ("gcp.yaml", "diskSizeGb:", "diskSizeGB:"),
        ("gcp.yaml", "provisioningModel:", "provisionModel:"),
        ("onprem.yaml", "ssh_private_key:", "ssh_privat_key:"),
        ("onprem.yaml", "run_options:", "run_option:"),
        ("kuberay/rayservice.yaml", "rayClusterConfig:", "rayClusterConfg:"),
        ("kuberay/rayservice.yaml", "minReplicas:", "minReplica:"),
        ("kuberay/rayservice.yaml", "terminationGracePeriodSeconds:", "terminationGraceSeconds:"),
    ],
)
def test_a_planted_typo_is_an_error_on_its_line(
    name: str, right: str, wrong: str, tmp_path: Path
) -> None:
    checked, line = check_with(name, right, wrong, tmp_path)

    errors = [finding for finding in checked.findings if finding.severity == "error"]
    assert line in {finding.line for finding in errors}, errors


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("aws.yaml", "GPU: 8,", "GPU: 1,", "holds a replica of llama-2-70b-chat"),
        ("aws.yaml", "head_node_type: head", "head_node_type: haed", "head_node_type"),
        ("gcp.yaml", "max_workers: 7", "max_workers: 1", "no room for so many"),
        ("onprem.yaml", "head_ip:", "hed_ip:", "head_ip"),
        ("onprem.yaml", "A6000: 2}", "A600: 2}", "replicas, and when all tiers do"),
        ("kuberay/rayservice.yaml", '"2.60.0"', '"2.59.0"', "must agree"),
        ("kuberay/rayservice.yaml", "containers:", "volumes:", "its nodes cannot be read"),
        ("kuberay/rayservice.yaml", "max_model_len: 4096", "max_model_len: 8192", "models.yaml"),
    ],
)
def test_what_would_fail_later_is_said_now(
    name: str, old: str, new: str, message: str, tmp_path: Path
) -> None:
    checked, _ = check_with(name, old, new, tmp_path)

    assert any(message in finding.message for finding in checked.findings), checked.findings


def test_the_command_writes_its_report_and_exits_1_on_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, report = tmp_path / "aws.yaml", tmp_path / "report.json"
    file.write_text(Path("cluster/aws.yaml").read_text().replace("ssh_user", "ssh_usr"))

    with pytest.raises(typer.Exit) as stopped:
        check_cluster_file(file, Path("models.yaml"), report)

    document: dict[str, Any] = json.loads(report.read_text())
    assert stopped.value.exit_code == 1
    assert "did you mean 'ssh_user'" in document["findings"][-1]["message"]
    assert "did you mean" in " ".join(capsys.readouterr().out.split())
