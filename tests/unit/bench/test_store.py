from pathlib import Path

import pytest

from serve_app.bench.processes import ServerFailed
from serve_app.bench.store import SHARDS, Took, as_document, medians, synthetic_model, verdicts


def took(mover: str, push_s: float, pull_s: float) -> list[Took]:
    return [Took(mover, "push", push_s), Took(mover, "pull", pull_s)]


def test_the_median_of_the_rounds_counts() -> None:
    rounds = [*took("ours", 1.0, 2.0), *took("ours", 3.0, 4.0), *took("ours", 100.0, 3.0)]

    assert medians(rounds) == {"ours": {"push": 3.0, "pull": 3.0}}


def test_the_store_must_be_at_least_as_fast_as_its_peer() -> None:
    seconds = medians([*took("ours", 10.0, 21.0), *took("peer", 20.0, 20.0)])

    push, pull = verdicts(seconds, "ours", "peer")

    assert (push.value, push.is_met) == (2.0, True)
    assert not pull.is_met


def test_a_missed_target_is_in_the_report() -> None:
    rounds = [*took("ours", 2.0, 2.0), *took("peer", 1.0, 4.0)]
    judged = verdicts(medians(rounds), "ours", "peer")

    document = as_document(rounds, judged, 2_000, {"machine": {}})

    assert document["is_met"] is False
    assert len(document["seconds"]) == 4


def test_the_synthetic_model_has_random_shards_of_the_asked_size(tmp_path: Path) -> None:
    model = synthetic_model(tmp_path / "model", 80_000)

    shards = sorted(model.glob("*.safetensors"))
    assert [path.stat().st_size for path in shards] == [10_000] * SHARDS
    assert len({path.read_bytes() for path in shards}) == SHARDS


def test_a_disk_without_the_space_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="lower --gb"):
        synthetic_model(tmp_path / "model", 10**18)
    assert not (tmp_path / "model").exists()
