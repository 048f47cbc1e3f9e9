"""A RayService: its keys, and its serveConfigV2 made from models.yaml.

`python -m serve_app.check.cluster.kuberay` writes cluster/kuberay/rayservice.yaml anew from
models.yaml; a test compares.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from serve_app.check.file.keys import KeyTree

_SERVICE_FILE = Path("cluster/kuberay/rayservice.yaml")
_MODELS_FILE = Path("models.yaml")
# Pods are reached from outside, so the file for Kubernetes listens everywhere and asks for keys.
_HOST = ("  host: 127.0.0.1\n", "  host: 0.0.0.0\n")
_KEYS = {"keys": "env:TANDEM_API_KEYS"}
_INDENT = "    "

_CONTAINER: KeyTree = {
    "args": None, "command": None, "env": {"name": None, "value": None, "valueFrom": None},
    "envFrom": None, "image": None, "imagePullPolicy": None, "lifecycle": None,
    "livenessProbe": None, "name": None,
    "ports": {"containerPort": None, "hostIP": None, "hostPort": None, "name": None,
              "protocol": None},
    "readinessProbe": None, "resources": {"claims": None, "limits": None, "requests": None},
    "securityContext": None, "startupProbe": None,
    "volumeMounts": {"mountPath": None, "name": None, "readOnly": None, "subPath": None},
    "workingDir": None,
}  # fmt: skip
_POD: KeyTree = {
    "metadata": {"annotations": None, "labels": None},
    "spec": {
        "affinity": None, "automountServiceAccountToken": None, "containers": _CONTAINER,
        "hostIPC": None, "imagePullSecrets": None, "initContainers": _CONTAINER,
        "nodeSelector": None, "priorityClassName": None, "restartPolicy": None,
        "runtimeClassName": None, "securityContext": None, "serviceAccountName": None,
        "terminationGracePeriodSeconds": None, "tolerations": None,
        "topologySpreadConstraints": None, "volumes": None,
    },
}  # fmt: skip
_HEAD: KeyTree = {
    "enableIngress": None, "headService": None, "labels": None, "rayStartParams": None,
    "resources": None, "serviceType": None, "template": _POD,
}  # fmt: skip
_WORKERS: KeyTree = {
    "groupName": None, "idleTimeoutSeconds": None, "labels": None, "maxReplicas": None,
    "minReplicas": None, "numOfHosts": None, "rayStartParams": None, "replicas": None,
    "resources": None, "scaleStrategy": None, "suspend": None, "template": _POD,
}  # fmt: skip
_CLUSTER: KeyTree = {
    "authOptions": None,
    "autoscalerOptions": {
        "env": None, "envFrom": None, "idleTimeoutSeconds": None, "image": None,
        "imagePullPolicy": None, "resources": None, "securityContext": None,
        "upscalingMode": None, "version": None, "volumeMounts": None,
    },
    "enableInTreeAutoscaling": None, "gcsFaultToleranceOptions": None,
    "headGroupSpec": _HEAD, "headServiceAnnotations": None, "managedBy": None,
    "rayVersion": None, "suspend": None, "workerGroupSpecs": _WORKERS,
}  # fmt: skip
# KubeRay's API reference, ray.io/v1, of KubeRay 1.4.
SERVICE_KEYS: KeyTree = {
    "apiVersion": None,
    "kind": None,
    "metadata": {"annotations": None, "labels": None, "name": None, "namespace": None},
    "spec": {
        "deploymentUnhealthySecondThreshold": None, "excludeHeadPodFromServeSvc": None,
        "rayClusterConfig": _CLUSTER, "rayClusterDeletionDelaySeconds": None, "serveConfigV2": None,
        "serveService": None, "serviceUnhealthySecondThreshold": None, "suspend": None,
        "upgradeStrategy": None,
    },
}  # fmt: skip


def is_kuberay(content: object) -> bool:
    return isinstance(content, dict) and "apiVersion" in content


def serve_config(models: str) -> str:
    """The text of models.yaml for pods: it listens everywhere, and its keys are in a secret.

    Raises:
        ValueError: the text has another form than the repository's own models.yaml.
    """
    if models.count(_HOST[0]) != 1:
        raise ValueError(f"{_MODELS_FILE} has not exactly one line {_HOST[0]!r}")
    text = models.replace(*_HOST).rstrip("\n") + f"\n{_INDENT}auth: {{keys: {_KEYS['keys']!r}}}\n"
    try:
        is_same = yaml.safe_load(text) == for_pods(yaml.safe_load(models))
    except yaml.YAMLError:
        is_same = False
    if not is_same:
        raise ValueError(f"{_MODELS_FILE} does not end with the args of its application")
    return text


def for_pods(models: dict[str, Any]) -> dict[str, Any]:
    """The parsed models.yaml as pods serve it; everything else must be the same."""
    first, *others = models["applications"]
    served = {**first, "args": {**(first.get("args") or {}), "auth": _KEYS}}
    http = {**(models.get("http_options") or {}), "host": "0.0.0.0"}
    return {**models, "http_options": http, "applications": [served, *others]}


def with_serve_config(service: str, models: str) -> str:
    """The RayService's text with its serveConfigV2 made from the text of models.yaml."""
    lines = (f"{_INDENT}{line}".rstrip() for line in serve_config(models).splitlines())
    block = "  serveConfigV2: |\n" + "\n".join(lines) + "\n"
    pattern = r"^  serveConfigV2: \|\n(?:(?: {4}.*)?\n)*"
    found, count = re.subn(pattern, lambda _: block, service, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"{_SERVICE_FILE} has not exactly one serveConfigV2")
    return found


if __name__ == "__main__":
    _SERVICE_FILE.write_text(with_serve_config(_SERVICE_FILE.read_text(), _MODELS_FILE.read_text()))
