"""Keys: made, written, read, recognised; never shown."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.access.keys.key import Key, KeysInvalid, read_keys, written_keys
from serve_app.access.keys.ring import KeyRing
from serve_app.access.keys.secret import presented
from serve_app.access.keys.source import Keys, VariableSource, open_source
from serve_app.access.rights import require_admin, require_class, require_model
from serve_app.errors import InvalidKey, NotPermitted
from tests.unit.access.builders import a_key


class Place:
    """A keys file in memory."""

    def __init__(self, *keys: Key) -> None:
        self.data: bytes | None = written_keys(keys)

    def load(self) -> bytes | None:
        return self.data


def watched(place: Place) -> Keys:
    keys = Keys(place, "keys.yaml", every_s=2.0)
    keys.load()
    return keys


def test_a_key_is_found_by_what_its_owner_sends() -> None:
    key, token = a_key(name="whatsapp bot")
    assert KeyRing([key, a_key()[0]]).find(f"Bearer {token}") == key


@pytest.mark.parametrize("authorization", [None, "", "Bearer ", "Basic abc", "Bearer sk-other-1-2"])
def test_a_request_without_a_key_of_ours_is_refused(authorization: str | None) -> None:
    with pytest.raises(InvalidKey) as error:
        KeyRing([]).find(authorization)
    assert (error.value.status, error.value.code) == (401, "invalid_api_key")


def test_a_wrong_secret_and_an_unknown_id_are_told_apart_by_nobody() -> None:
    # Given a key, a wrong secret for it, one right but for its last letter, and an unknown id
    key, token = a_key()
    other, unknown = a_key()
    compared: list[tuple[int, int]] = []

    def is_equal(one: bytes, two: bytes) -> bool:
        compared.append((len(one), len(two)))
        return one == two

    ring = KeyRing([key], is_equal)
    said = set()
    for wrong in (
        f"sk-tandem-{key.id}-x",
        token[:-1] + ("a" if token[-1] != "a" else "b"),
        unknown,
    ):
        with pytest.raises(InvalidKey) as error:
            ring.find(f"Bearer {wrong}")
        said.add(error.value.message)
    # Then all get the same words, after one comparison of two whole digests
    assert len(said) == 1 and other.id not in said.pop()
    assert compared == [(32, 32)] * 3


@given(st.text())
def test_no_header_breaks_the_ring(text: str) -> None:
    with pytest.raises(InvalidKey):
        KeyRing([]).find(text.encode("utf-8", "replace").decode("latin-1"))


def test_a_revoked_key_is_refused_and_says_so() -> None:
    key, token = a_key(revoked="2026-11-21T10:00:00Z")
    with pytest.raises(InvalidKey, match="revoked"):
        KeyRing([key]).find(f"Bearer {token}")


def test_keys_survive_being_written_and_read() -> None:
    key, _ = a_key(models=["small", "auto"], requests_per_minute=60, usd_per_month=12.5, admin=True)
    assert read_keys(written_keys((key,))) == (key,)


def test_the_file_holds_no_secret() -> None:
    key, token = a_key()
    parts = presented(token)
    assert parts is not None
    assert parts.secret.encode() not in written_keys((key,))
    assert key.hash not in repr(key)


def test_two_keys_of_one_secret_have_different_hashes() -> None:
    assert a_key("same")[0].hash != a_key("same")[0].hash


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xfe\x00", "not YAML"),
        (b"keys: [{id: abcd, revoked: 2026-02-30}]", "YAML cannot read: day"),
        (b"[1]", "list `keys`"),
        (b"keys: [{id: abcd}]", r"keys\.0\.hash"),
        (b"keys: [{id: abcd, hash: md5:1}]", "blake2b"),
        (b"keys: [{id: abcd, hsh: x}]", "did you mean 'hash'"),
    ],
)
def test_a_broken_file_names_the_place(data: bytes, reason: str) -> None:
    with pytest.raises(KeysInvalid, match=reason):
        read_keys(data)


async def test_a_key_revoked_in_the_file_is_void_after_the_next_look() -> None:
    key, token = a_key()
    place = Place(key)
    keys = watched(place)
    assert keys.ring.find(f"Bearer {token}").id == key.id
    place.data = written_keys((key.model_copy(update={"revoked": "now"}),))
    await keys.refresh()
    with pytest.raises(InvalidKey):
        keys.ring.find(f"Bearer {token}")


@pytest.mark.parametrize("broken", [b"keys: 3", None, b"keys: [{revoked: 2026-02-30}]"])
async def test_a_file_that_breaks_leaves_the_last_keys_in_force(broken: bytes | None) -> None:
    key, token = a_key()
    place = Place(key)
    keys = watched(place)
    place.data = broken
    await keys.refresh()
    assert keys.ring.find(f"Bearer {token}").id == key.id


def test_no_file_at_the_start_says_how_to_make_one() -> None:
    place = Place()
    place.data = None
    with pytest.raises(KeysInvalid, match=r"tandem keys create --file keys\.yaml"):
        watched(place)


def test_keys_may_come_from_a_variable() -> None:
    key, _ = a_key()
    source = open_source("env:KEYS", {"KEYS": written_keys((key,)).decode()})
    assert isinstance(source, VariableSource)
    assert read_keys(source.load() or b"") == (key,)


@pytest.mark.parametrize("place", ["env:", "env:a-b", "ftp://x/y", ""])
def test_a_place_that_cannot_be_is_refused(place: str) -> None:
    with pytest.raises(ValueError):
        open_source(place)


def test_a_key_may_use_only_its_models() -> None:
    key, _ = a_key(models=["small"])
    require_model(key, "small")
    with pytest.raises(NotPermitted, match=r"'large'.*small"):
        require_model(key, "large")


def test_a_key_of_classes_may_not_set_its_own_objective() -> None:
    key, _ = a_key(classes=["relaxed"])
    require_class(key, "relaxed", "class")
    require_class(key, None, "timeout")
    for slo_class, source in (("urgent", "class"), (None, "body"), (None, "header")):
        with pytest.raises(NotPermitted, match="relaxed"):
            require_class(key, slo_class, source)


def test_what_shows_the_router_needs_the_admin_right() -> None:
    require_admin(a_key(admin=True)[0], "/metrics")
    with pytest.raises(NotPermitted, match="--admin"):
        require_admin(a_key()[0], "/metrics")


async def test_a_file_that_breaks_twice_is_logged_twice(caplog: pytest.LogCaptureFixture) -> None:
    place = Place(a_key()[0])
    whole = place.data
    keys = watched(place)
    for _ in range(2):
        for data in (b"keys: 3", whole):
            place.data = data
            await keys.refresh()
    assert sum("could not be read again" in record.message for record in caplog.records) == 2


async def test_a_look_that_fails_in_a_new_way_is_not_the_last() -> None:
    # Given a place that fails once as nobody foresaw
    key, _ = a_key()
    place = Place(key)
    keys = Keys(place, "keys.yaml", every_s=0.01)
    keys.load()
    unforeseen = [RuntimeError("unforeseen")]
    found = place.load

    def load() -> bytes | None:
        if unforeseen:
            raise unforeseen.pop()
        return found()

    place.load = load  # type: ignore[method-assign]
    place.data = written_keys((key.model_copy(update={"revoked": "now"}),))
    # When it is watched, then what changed is noticed all the same
    watching = asyncio.create_task(keys.watch())
    async with asyncio.timeout(10.0):
        while len(keys.ring):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    watching.cancel()
