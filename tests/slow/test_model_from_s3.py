"""The real engine takes its model from S3: two replicas on one node, one download, right text."""

import logging
import re
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from deployments.local_models import embedded_path, prepare
from deployments.store.node.cache import node_cache
from deployments.store.places.s3 import S3Place
from deployments.store.transfer.pull import pull_folder
from deployments.store.transfer.push import push
from tests.adapters import TIER
from tests.e2e.conftest import local_args
from tests.s3 import s3_server, set_aws_environment
from tests.serving import serving
from tests.unit.store.builders import unseen

_READ = re.compile(r"GET /models/smollm2/(\S+/\S+) ")
_PATIENCE_S = 300.0


def test_two_replicas_take_their_model_from_s3_in_one_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prepare([TIER], print)
    caplog.set_level(logging.INFO, logger="werkzeug")
    with s3_server() as endpoint, closing(S3Place("models", "smollm2")) as place:
        # Given a published model, and how many requests one download of it takes
        set_aws_environment(endpoint, monkeypatch)
        monkeypatch.setenv("TANDEM_STORE_CACHE", str(tmp_path / "cache"))
        boto3.session.Session().client("s3").create_bucket(Bucket="models")
        manifest = push(embedded_path(TIER), place, unseen).manifest
        pull_folder(place, manifest, tmp_path / "once", unseen)
        one_download = reads(caplog)
        # When two replicas on this node start from it
        with serving(two_replicas(place.uri), patience_s=600.0) as address:
            wait_for_two(address)
            replies = [ask(address) for _ in range(4)]
            cached = node_cache(Path(), {"TANDEM_STORE_CACHE": str(tmp_path / "cache")}).models()
        # Then each object was read as by one of them, and the replicas hold what they run
        assert all("Paris" in reply for reply in replies)
        assert reads(caplog) == one_download
        assert one_download == dict.fromkeys((piece.key for piece in manifest.pieces), 1)
        assert [(model.is_whole, model.is_in_use) for model in cached] == [(True, True)]


def two_replicas(source: str) -> dict[str, Any]:
    """`args` of one real tier whose model lies there."""
    args = local_args()
    tier = args["llm_configs"][0]
    tier["model_loading_config"]["model_source"] = source
    tier["engine_kwargs"] |= {"max_model_len": 512, "gpu_memory_utilization": 0.2}
    tier["deployment_config"]["num_replicas"] = 2
    return args | {"llm_configs": [tier]}


def reads(caplog: pytest.LogCaptureFixture) -> Counter[str]:
    """How often each object of the model was read since the last call, by the server's own log."""
    found = (_READ.search(record.getMessage()) for record in caplog.records)
    counted = Counter(match[1] for match in found if match)
    caplog.clear()
    return counted


def wait_for_two(address: str) -> None:
    give_up_at = time.monotonic() + _PATIENCE_S
    while httpx.get(f"{address}/v1/router/state").json()["tiers"][TIER]["replicas"] < 2:
        assert time.monotonic() < give_up_at
        time.sleep(1.0)


def ask(address: str) -> str:
    question = {"role": "user", "content": "What is the capital of France?"}
    body = {"model": TIER, "messages": [question], "max_tokens": 16, "temperature": 0}
    reply = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=_PATIENCE_S)
    return str(reply.json()["choices"][0]["message"]["content"])
