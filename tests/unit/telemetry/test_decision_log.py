"""The decision log: what is found and read back, and that its document is true."""

import re
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from serve_app.telemetry.decision_log import (
    SCHEMA,
    CandidateEntry,
    DecisionEntry,
    DecisionLog,
    read,
)

DOCUMENT = Path(__file__).parents[3] / "docs" / "decision_log.md"


def an_entry(decision_id: str = "d1", ended_at_s: float = 1.0, **changes: Any) -> dict[str, Any]:
    """An entry with every field; a test names what matters to it."""
    entry = {name: _default(kind) for name, kind in get_type_hints(DecisionEntry).items()}
    known = {"decision_id": decision_id, "ended_at_s": ended_at_s, "schema": SCHEMA}
    return entry | {"candidates": [a_candidate("small"), a_candidate("large")]} | known | changes


def a_candidate(tier: str) -> dict[str, Any]:
    entry = {name: _default(kind) for name, kind in get_type_hints(CandidateEntry).items()}
    return entry | {"tier": tier}


def _default(kind: Any) -> Any:
    if get_origin(kind) is list:
        return []
    defaults = {str: "text", float: 1.5, int: 3, bool: False}
    return defaults.get(kind) if kind in defaults else None


def a_log(folder: Path, replica: str = "r1", **changes: int) -> DecisionLog:
    return DecisionLog(folder, replica=replica, **({"max_bytes": 10**6, "max_files": 3} | changes))


def ids(folder: Path) -> list[str]:
    return [entry["decision_id"] for entry in read(folder)]


def test_an_entry_comes_back_as_it_went_in(tmp_path: Path) -> None:
    log = a_log(tmp_path / "new")
    log.append(an_entry())
    log.close()
    assert list(read(tmp_path / "new")) == [an_entry()]
    assert log.num_dropped == 0


def test_two_replicas_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    # Given two replicas that write into one folder, in small files
    first, second = (a_log(tmp_path, name, max_bytes=4000) for name in ("r1", "r2"))
    for i in range(3):
        first.append(an_entry(f"first-{i}", ended_at_s=10.0 * i))
        second.append(an_entry(f"second-{i}", ended_at_s=10.0 * i + 5))
    first.close()
    second.close()
    # Then they are merged, and each finds what the other wrote
    assert ids(tmp_path) == [f"{name}-{i}" for i in range(3) for name in ("first", "second")]
    found = first.find("second-0")
    assert found is not None and found["ended_at_s"] == 5.0


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    log = a_log(tmp_path)
    log.append(an_entry("whole"))
    log.append(an_entry("torn", ended_at_s=2.0))
    log.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    assert ids(tmp_path) == ["whole"]
    assert log.find("torn") is None
    assert log.find("whole") is not None


def test_a_broken_line_in_the_middle_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = a_log(tmp_path)
    log.append(an_entry("before"))
    log.append({"ended_at_s": "not a number", "decision_id": "broken"})
    log.append(an_entry("after", ended_at_s=2.0))
    log.close()
    assert ids(tmp_path) == ["before", "after"]
    assert "1 lines are no decision entries" in caplog.text


def test_reading_goes_on_when_a_file_is_rotated_away(tmp_path: Path) -> None:
    # Given three files of one entry, and a reader in the first
    log = a_log(tmp_path, max_bytes=10)
    for i in range(3):
        log.append(an_entry(f"d{i}", ended_at_s=float(i)))
    log.close()
    entries = read(tmp_path)
    assert next(entries)["decision_id"] == "d0"
    # When the first two are deleted
    for path in sorted(tmp_path.iterdir())[:2]:
        path.unlink()
    # Then the rest is read
    assert [entry["decision_id"] for entry in entries] == ["d2"]


def test_the_newest_of_two_with_one_id_is_found(tmp_path: Path) -> None:
    log = a_log(tmp_path)
    log.append(an_entry("same", tier="small"))
    log.append(an_entry("same", ended_at_s=2.0, tier="large"))
    log.append(an_entry("mentions", ended_at_s=3.0, task='"decision_id":"same"'))
    log.close()
    found = log.find("same")
    assert found is not None and found["tier"] == "large"


@pytest.mark.parametrize("decision_id", ["missing", "", '"', "\ud800"])
def test_an_unknown_id_is_not_found(tmp_path: Path, decision_id: str) -> None:
    log = a_log(tmp_path)
    log.append(an_entry("d1"))
    log.close()
    assert log.find(decision_id) is None


def test_a_folder_that_is_not_there_has_no_entries(tmp_path: Path) -> None:
    log = a_log(tmp_path / "missing")
    log.close()
    assert list(read(tmp_path / "missing")) == []
    assert log.find("d1") is None


@pytest.mark.parametrize(
    ("heading", "fields"), [("## The entry", DecisionEntry), ("## A candidate", CandidateEntry)]
)
def test_the_document_names_exactly_the_fields(heading: str, fields: Any) -> None:
    section = DOCUMENT.read_text().split(heading)[1].split("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE)
    assert documented == [(name, _kind(kind)) for name, kind in get_type_hints(fields).items()]


def _kind(kind: Any) -> str:
    """A field's type as the document writes it."""
    names = {str: "text", float: "number", int: "integer", bool: "true or false"}
    if kind in names:
        return names[kind]
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        return "list of text" if item is str else "list of candidates"
    alternatives = [part for part in get_args(kind) if part is not type(None)]
    if len(alternatives) < len(get_args(kind)):
        return f"{_kind(alternatives[0])} or null"
    return "integer"
