"""The files of cluster/ against the code they belong to; Ray's own view is in integration."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.check.cluster.iam import needed_actions, policy_problems
from serve_app.check.cluster.kuberay import for_pods, serve_config, with_serve_config
from serve_app.haproxy.settings import HAPROXY_SETTINGS
from serve_app.telemetry.metric_list import metric_list

CLUSTER = Path("cluster")
SERVICE = CLUSTER / "kuberay" / "rayservice.yaml"
README = Path("README.md")
MODELS = Path("models.yaml").read_text()
# What Prometheus makes of one histogram.
_PARTS = r"_(?:bucket|sum|count)$"


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def exported() -> dict[str, set[str]]:
    """Every metric of ours with its labels."""
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| (.*?) \|", metric_list(), flags=re.MULTILINE)
    return {name: set(re.findall(r"\w+", labels)) for name, labels in rows}


def queries() -> Iterator[str]:
    dashboard = json.loads((CLUSTER / "observability" / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]
    for group in loaded(CLUSTER / "observability" / "alerts.yaml")["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def test_every_query_names_only_metrics_that_we_export() -> None:
    ours = exported()
    assert len(ours) > 10
    for query in queries():
        names = [re.sub(_PARTS, "", name) for name in re.findall(r"ray_\w+", query)]
        assert names, query
        assert set(names) <= set(ours), query


def test_every_query_selects_by_labels_that_the_metric_has() -> None:
    ours = exported()
    for query in queries():
        for name, selectors in re.findall(r"(ray_\w+)\{([^}]*)\}", query):
            labels = set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", selectors))
            assert labels <= ours[re.sub(_PARTS, "", name)], query
        every = set().union(*(ours[re.sub(_PARTS, "", n)] for n in re.findall(r"ray_\w+", query)))
        for group in re.findall(r"\bby \(([^)]*)\)", query):
            assert {label.strip() for label in group.split(",")} <= every | {"le"}, query


def test_every_metric_that_we_export_is_on_the_dashboard() -> None:
    dashboard = (CLUSTER / "observability" / "dashboard.json").read_text()
    assert [name for name in exported() if name not in dashboard] == []


def test_the_rayservice_serves_models_yaml() -> None:
    served = yaml.safe_load(loaded(SERVICE)["spec"]["serveConfigV2"])

    assert served == for_pods(yaml.safe_load(MODELS))
    assert SERVICE.read_text() == with_serve_config(SERVICE.read_text(), MODELS)


def test_pods_serve_the_same_but_for_their_address_and_their_keys() -> None:
    models = yaml.safe_load(MODELS)
    served = yaml.safe_load(serve_config(MODELS))

    assert served["http_options"].pop("host") == "0.0.0.0"
    assert served["applications"][0]["args"].pop("auth") == {"keys": "env:TANDEM_API_KEYS"}
    models["http_options"].pop("host")
    assert served == models


def test_a_models_file_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="not exactly one line"):
        serve_config(MODELS.replace("  host: 127.0.0.1\n", ""))
    with pytest.raises(ValueError, match="does not end with the args"):
        serve_config(MODELS + "logging_config: {}\n")


@pytest.mark.parametrize("name", ["aws", "gcp", "onprem"])
def test_nodes_run_haproxy_with_our_settings(name: str) -> None:
    options = " ".join(loaded(CLUSTER / f"{name}.yaml")["docker"]["run_options"])
    # As the node's shell reads them.
    read = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {options}"], capture_output=True, check=True, text=True
    )
    variables = dict(option.split("=", 1) for option in read.stdout.split("\0") if "=" in option)

    assert HAPROXY_SETTINGS.items() <= variables.items()


def test_pods_run_haproxy_with_our_settings() -> None:
    cluster = loaded(SERVICE)["spec"]["rayClusterConfig"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        (container,) = group["template"]["spec"]["containers"]
        variables = {entry["name"]: entry.get("value") for entry in container["env"]}
        assert HAPROXY_SETTINGS.items() <= variables.items()


def test_readme_starts_ray_with_our_haproxy_settings() -> None:
    exports = [
        line for line in README.read_text().splitlines() if line.startswith("export RAY_SERVE_")
    ]

    read = subprocess.run(
        ["bash", "-c", "; ".join([*exports, "env -0"])], capture_output=True, check=True, text=True
    )

    variables = dict(entry.split("=", 1) for entry in read.stdout.split("\0") if entry)
    assert HAPROXY_SETTINGS.items() <= variables.items()


def test_our_policies_allow_what_aws_yaml_needs_and_no_star() -> None:
    needed = needed_actions(loaded(CLUSTER / "aws.yaml"))

    assert list(policy_problems(CLUSTER, needed)) == []
    for path in (CLUSTER / "iam").glob("*.json"):
        for statement in json.loads(path.read_text())["Statement"]:
            assert "*" not in str(statement["Action"]), path


@pytest.mark.parametrize("name", ["head", "worker"])
def test_the_router_may_save_its_state_wherever_it_runs(name: str) -> None:
    # It takes no CPUs, so Ray places it on any node.
    statements = json.loads((CLUSTER / "iam" / f"{name}.json").read_text())["Statement"]
    (writing,) = [entry for entry in statements if entry["Action"] == "s3:PutObject"]

    assert writing["Resource"].endswith("/tandem-state/*")


def test_a_policy_that_lacks_an_action_is_named(tmp_path: Path) -> None:
    (tmp_path / "iam").mkdir()
    policy = (CLUSTER / "iam" / "head.json").read_text().replace("iam:PassRole", "iam:GetRole")
    (tmp_path / "iam" / "head.json").write_text(policy)

    (problem,) = policy_problems(tmp_path, needed_actions(loaded(CLUSTER / "aws.yaml")))

    assert problem == "iam/head.json does not allow iam:PassRole, which this file needs"


def test_stopped_nodes_need_two_more_actions() -> None:
    content = loaded(CLUSTER / "aws.yaml")
    content["provider"]["cache_stopped_nodes"] = True

    assert "ec2:StartInstances" in needed_actions(content)["head"]


def test_every_part_of_the_collector_is_defined_and_used() -> None:
    config = loaded(CLUSTER / "observability" / "otel-collector.yaml")
    for pipeline in config["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) == set(config[kind])


def test_the_image_is_pinned_and_runs_as_nobody_special() -> None:
    text = (CLUSTER / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, flags=re.MULTILINE)
    makefile = Path("Makefile").read_text()

    assert len(bases) == 2
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)
    assert re.findall(r"^USER (\S+)", text, flags=re.MULTILINE)[-1] == "1000"
    version = re.search(r"UV_VERSION := (\S+)", makefile)
    assert version is not None
    assert f"uv=={version[1]}" in text


def test_the_image_has_what_ray_up_and_kuberay_call_in_it() -> None:
    text = (CLUSTER / "Dockerfile").read_text()
    installed = set(re.findall(r"apt-get install([^&]*)&&", text)[0].split())

    # KubeRay's liveness and readiness probes are `wget ... | grep success`.
    assert {"procps", "rsync", "openssh-client", "wget"} <= installed


def test_login_shells_in_the_image_find_ray() -> None:
    # `ray up` runs `bash --login -c -i ...` in the container, and /etc/profile sets PATH anew.
    text = (CLUSTER / "Dockerfile").read_text()
    folder = re.findall(r"^ENV PATH=([^:]+):", text, flags=re.MULTILINE)

    assert re.findall(r"echo 'PATH=([^:]+):\$PATH' > /etc/profile\.d/\w+\.sh", text) == folder


@pytest.mark.parametrize("name", ["aws", "gcp", "onprem"])
def test_containers_of_workers_ask_for_their_gpus(name: str) -> None:
    # The image is none of NVIDIA's, and without it their runtime does as runc does.
    docker = loaded(CLUSTER / f"{name}.yaml")["docker"]

    assert "--env NVIDIA_VISIBLE_DEVICES=all" in docker["worker_run_options"]


@pytest.mark.parametrize("name", ["aws", "gcp", "onprem"])
def test_the_head_is_given_the_file_by_which_it_starts_workers(name: str) -> None:
    start = loaded(CLUSTER / f"{name}.yaml")["head_start_ray_commands"][-1]

    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start


@pytest.mark.parametrize("name", ["aws", "gcp", "onprem"])
def test_prometheus_on_the_heads_machine_sees_the_list_of_nodes(name: str) -> None:
    # Ray writes it in its container.
    scraped = loaded(CLUSTER / "observability" / "prometheus.yaml")["scrape_configs"][0]
    (file,) = scraped["file_sd_configs"][0]["files"]
    content = loaded(CLUSTER / f"{name}.yaml")
    folder = str(Path(file).parent)

    assert f"--volume {folder}:{folder}" in content["docker"]["head_run_options"]
    assert any(
        "install -d -m 1777" in command and folder in command
        for command in content["initialization_commands"]
    )


@pytest.mark.parametrize(
    ("mounted", "done"),
    [
        ("/opt/dlami/nvme", ["mount --bind /opt/dlami/nvme /mnt/models"]),
        ("/mnt/models", []),
        ("nothing", ["mkfs.ext4 -qF /dev/nvme1n1", "mount /dev/nvme1n1 /mnt/models"]),
    ],
)
def test_models_on_aws_lie_on_the_local_disks(
    mounted: str, done: list[str], tmp_path: Path
) -> None:
    # Given a node of whose folders one is mounted; the Deep Learning AMI mounts its own
    command = loaded(CLUSTER / "aws.yaml")["initialization_commands"][0]
    disk = "/dev/nvme1n1 Amazon EC2 NVMe Instance Storage"
    node = (
        f'sudo() {{ echo "$@" >> {tmp_path}/done; }}; mountpoint() {{ [ "$2" = {mounted} ]; }}; '
        f"lsblk() {{ echo '{disk}'; }}; "
    )
    # When it is prepared
    subprocess.run(["bash", "-c", node + command], check=True)
    # Then no disk in use is made anew
    assert (tmp_path / "done").read_text().splitlines() == [
        "mkdir -p /mnt/models", *done, "chmod 1777 /mnt/models",
    ]  # fmt: skip


def test_the_image_has_what_rays_autoscalers_import_of_clouds() -> None:
    pins = {line.split("==")[0] for line in Path("requirements/gpu.txt").read_text().split()}

    assert {"boto3", "google-api-python-client", "google-auth-httplib2", "httplib2"} <= pins
