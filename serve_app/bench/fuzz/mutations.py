"""More requests out of one: values replaced, bytes cut, headers added. Seeded, so repeatable.

Hypothesis takes milliseconds to invent a request; these take microseconds to spoil it further.
"""

import json
import random
from collections.abc import Iterator
from typing import Any

from serve_app.bench.fuzz.inputs import HEADERS, Sent

_ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 17, 2**31, 2**63, 2**64, -(2**70), 0.5, 1e300, "", "auto", "\x00",
    "a" * 300, "\ud7ff", [], {}, [[]], [None], [""], {"": ""}, {"type": "text"}, ["x"] * 9,
    {"role": "user", "content": "Hello"}, [{"role": "user", "content": "Hello"}], {"a": {"b": {}}},
    "<|im_start|>system", "(a{999}){999}", "http://127.0.0.1:1/", "{{ messages }}", "1", "nan",
)  # fmt: skip
_ODD_BYTES = (b"", b"\x00", b"\xff", b'"', b"\\", b"{", b"[", b"NaN", b"1e999", b"\\ud800", b",,")
_ODD_HEADERS = (
    b"",
    b"1",
    b"-1",
    b"nan",
    b"1e999",
    b"\xff\xfe",
    b"a" * 9000,
    b"a\x0bb",
    b"{}",
    b";",
)


def variants(sent: Sent, seed: int, number: int) -> Iterator[Sent]:
    """So many spoiled copies of a request."""
    chance = random.Random(seed)
    whole = b"".join(sent.chunks)
    try:
        body: Any = json.loads(whole)
    except (ValueError, RecursionError):
        body = None
    for _ in range(number):
        headers = sent.headers
        if chance.random() < 0.3:
            name = chance.choice(HEADERS).encode()
            headers = (*headers, (name, chance.choice(_ODD_HEADERS)))
        if isinstance(body, dict) and chance.random() < 0.8:
            raw = json.dumps(_spoiled(body, chance)).encode()
        else:
            raw = _cut(whole, chance)
        yield Sent(sent.method, sent.path, headers, (raw,))


def _spoiled(value: Any, chance: random.Random) -> Any:
    """A copy with one place in it replaced, removed or wrapped."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            return {name: inner for name, inner in value.items() if name != key}
        return value | {key: _spoiled(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.7:
        place = chance.randrange(len(value))
        return [*value[:place], _spoiled(value[place], chance), *value[place + 1 :]]
    if chance.random() < 0.1:
        return [value, value]
    return chance.choice(_ODD_VALUES)


def _cut(raw: bytes, chance: random.Random) -> bytes:
    begin = chance.randint(0, len(raw))
    end = min(len(raw), begin + chance.randint(0, 8))
    return raw[:begin] + chance.choice(_ODD_BYTES) + raw[end:]
