"""The model store against S3 over HTTP: kills, races, damage; and what a replica does with it."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest

from deployments.store.gc import collect
from deployments.store.manifest import MANIFEST
from deployments.store.node.cache import node_cache
from deployments.store.places.s3 import S3Place
from deployments.store.places.types import StoreFailed
from deployments.store.transfer.pull import pull_folder
from deployments.store.transfer.push import published_manifest, push
from deployments.store.verify import verify_folder, verify_place
from tests.killing import finish, kill_when, num_pulled, send_when, tandem_store
from tests.s3 import s3_server, set_aws_environment
from tests.unit.store.builders import Phases, a_model, contents, unseen

MB = 2**20
URI = "s3://models/tiny"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(autouse=True)
def environment(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    set_aws_environment(endpoint, monkeypatch)
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path / "home"))
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="models")
    yield
    for entry in client.list_objects_v2(Bucket="models").get("Contents", []):
        client.delete_object(Bucket="models", Key=entry["Key"])
    client.delete_bucket(Bucket="models")
    client.close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return a_model(tmp_path / "model", **{"weights.bin": 48 * MB})


@pytest.fixture
def place() -> Iterator[S3Place]:
    with closing(S3Place("models", "tiny")) as place:
        yield place


def test_a_push_that_was_killed_goes_on(model: Path, place: S3Place, tmp_path: Path) -> None:
    # Given a push that was killed after some of its pieces
    slow = tandem_store("push", str(model), URI, "--piece-mb", "1", "--max-mb-per-s", "8")
    kill_when(slow, lambda: len(place.sizes()) >= 8)
    assert published_manifest(place) is None
    # When it is run again
    report = tmp_path / "push.json"
    finish(tandem_store("push", str(model), URI, "--piece-mb", "1", "--json", str(report)))
    # Then what it had noted is not sent again, and all of it is right
    assert json.loads(report.read_text())["kept_bytes"] >= 4 * MB
    assert verify_place(place, unseen) == []


def test_control_c_ends_transfers_under_way(model: Path, place: S3Place) -> None:
    # Given a push that waits for its last pieces, of which two are large
    slow = tandem_store("push", str(model), URI, "--max-mb-per-s", "1")
    looks = count()
    send_when(slow, signal.SIGINT, lambda: len(place.sizes()) == 2 and next(looks) >= 50)
    # When it is interrupted, then it does not bring them to their end
    slow.communicate()
    assert slow.returncode == 130
    assert len(place.sizes()) == 2


def test_a_pull_that_was_killed_goes_on(model: Path, place: S3Place, tmp_path: Path) -> None:
    # Given a pull into the cache that was killed after some of its pieces
    manifest = push(model, place, unseen, piece_bytes=MB).manifest
    cache = node_cache(tmp_path / "home", {})
    slow = tandem_store("pull", URI, "--max-mb-per-s", "8")
    kill_when(slow, lambda: num_pulled(cache.root) >= 8)
    assert [model.is_whole for model in cache.models()] == [False]
    # When somebody else asks for the model
    phases = Phases()
    held = cache.obtain(place, manifest, phases)
    # Then only the rest is fetched, and all of it is right
    assert phases.told["checking"] > 0
    assert held.fetched_bytes == manifest.num_bytes - phases.told["checking"]
    assert contents(held.folder) == contents(model)
    held.release()


def test_two_replicas_at_once_are_one_download(model: Path, place: S3Place, tmp_path: Path) -> None:
    manifest = push(model, place, unseen, piece_bytes=2 * MB).manifest
    reports = [tmp_path / "one.json", tmp_path / "two.json"]

    replicas = [tandem_store("pull", URI, "--json", str(report)) for report in reports]
    for replica in replicas:
        finish(replica)

    fetched = [json.loads(report.read_text())["fetched_bytes"] for report in reports]
    assert sorted(fetched) == [0, manifest.num_bytes]


def test_large_pieces_are_fetched_in_parallel_ranges(place: S3Place, tmp_path: Path) -> None:
    # Given one object of more than two ranges
    model = a_model(tmp_path / "large", **{"weights.bin": 70 * MB})
    push(model, place, unseen, piece_bytes=128 * MB)
    # When it is pulled and verified, then it is the same
    phases, manifest = Phases(), published_manifest(place)
    assert manifest is not None
    assert len(manifest.pieces) == len(manifest.files)
    pull_folder(place, manifest, tmp_path / "pulled", phases)
    assert phases.counted["fetching"] == manifest.num_bytes
    assert verify_folder(tmp_path / "pulled", unseen) == []
    assert verify_place(place, unseen) == []


def test_a_part_that_was_corrupted_on_s3_is_detected(
    model: Path, place: S3Place, tmp_path: Path
) -> None:
    manifest = push(model, place, unseen, piece_bytes=2 * MB).manifest
    place.write(manifest.pieces[-1].key, bytes(manifest.pieces[-1].num_bytes))

    with pytest.raises(StoreFailed, match=r"weights\.bin\[48234496:50331648\] is corrupted"):
        pull_folder(place, manifest, tmp_path / "pulled", unseen)

    (problem,) = verify_place(place, unseen)
    assert "weights.bin[48234496:50331648]" in problem


def test_an_upload_that_never_ended_is_ended_by_garbage_collection(place: S3Place) -> None:
    client = boto3.session.Session().client("s3")
    client.create_multipart_upload(Bucket="models", Key="tiny/.pieces/0123")
    client.create_multipart_upload(Bucket="models", Key="other/weights.bin")

    # moto says of every upload that it began in 2010.
    assert collect(place, (), older_than_s=1e9) == 0
    assert collect(place, (), older_than_s=3600) == 1


def test_replaced_versions_are_listed_and_collected(model: Path, place: S3Place) -> None:
    push(model, place, unseen)
    (model / "config.json").write_text("{}")
    new = push(model, place, unseen)

    assert new.kept_bytes == 48 * MB
    finish(tandem_store("gc", URI, "--older-than-hours", "0"))
    assert place.sizes().keys() == {MANIFEST, *(piece.key for piece in new.manifest.pieces)}


def test_a_missing_bucket_and_a_missing_model_say_what_to_do() -> None:
    for uri, advice in (("s3://nowhere/m", "Create the bucket"), (URI, "tandem store push")):
        process = tandem_store("pull", uri)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert advice in output.decode()


@pytest.mark.filterwarnings("ignore")
def test_a_replica_gets_its_model_from_the_store_and_keeps_it(model: Path, place: S3Place) -> None:
    pytest.importorskip("vllm")
    from ray.serve.llm import LLMConfig

    from deployments.store.node.replica import FromStore

    # Given a tier whose weights are in the store
    manifest = push(model, place, unseen).manifest
    loading: Any = {"model_id": "tiny", "model_source": URI}
    config = LLMConfig(model_loading_config=loading, accelerator_config={"kind": "cpu"})
    replica = FromStore(llm_config=config)
    # When Ray Serve LLM calls what it calls before it starts the engine
    asyncio.run(replica.on_before_node_init())
    replica.on_before_download_model_files_distributed()
    asyncio.run(replica.on_after_node_init())
    # Then the engine is told of the folder, Ray of no download, and eviction spares it
    engine = config.get_engine_config()
    assert contents(Path(engine.hf_model_id)) == contents(model)
    assert engine.mirror_config is None
    cache = node_cache(Path(os.environ["TANDEM_HOME"]), os.environ)
    assert Path(engine.hf_model_id) == cache.folder_of(place, manifest)
    assert cache.evict(0) == []


@pytest.mark.filterwarnings("ignore")
def test_a_plain_folder_on_s3_is_left_to_ray(place: S3Place) -> None:
    pytest.importorskip("vllm")
    from ray.serve.llm import LLMConfig

    from deployments.store.node.replica import FromStore

    place.write("config.json", b"{}")
    loading: Any = {"model_id": "tiny", "model_source": URI}
    config = LLMConfig(model_loading_config=loading, accelerator_config={"kind": "cpu"})

    asyncio.run(FromStore(llm_config=config).on_before_node_init())

    assert config.get_engine_config().mirror_config.bucket_uri == URI
