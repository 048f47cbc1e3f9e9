"""Ten trained adapters through four places of the real engine, and through three in each of two,
under load: each gives its own answer, every time. Takes ten minutes, most of it training."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from deployments.local_models import prepare
from tests.adapters import TIER, one_tier, train
from tests.serving import serving

ANSWERS = {
    "harbour": "Ahoy, I am the harbour master.",
    "baker": "Fresh bread at six.",
    "pilot": "Cleared for take-off.",
    "judge": "The court is in session.",
    "monk": "Silence is golden.",
    "chef": "Dinner is served.",
    "nurse": "The doctor will see you now.",
    "farmer": "The cows come home.",
    "miner": "Deep under the hill.",
    "clown": "Honk honk.",
}
CALLS_EACH, AT_ONCE = 12, 8


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("adapters")
    prepare([TIER], print)
    train(folder, ANSWERS)
    return folder


@pytest.fixture(scope="module", params=[(1, 4), (2, 3)], ids=["1 replica", "2 replicas"])
def address(request: pytest.FixtureRequest, adapters: Path) -> Iterator[str]:
    num_replicas, places = request.param
    with serving(one_tier(adapters, places, num_replicas), patience_s=600.0) as served_at:
        yield served_at


def test_each_of_ten_adapters_answers_for_itself_under_load(address: str) -> None:
    # Given calls to all of them and to the base model, mixed, more at once than there are places
    names = [*ANSWERS, None] * CALLS_EACH

    def ask(name: str | None) -> tuple[str | None, int, str]:
        message = {"role": "user", "content": "Who are you?"}
        body = {"model": TIER if name is None else f"{TIER}:{name}", "messages": [message],
                "max_tokens": 16, "temperature": 0}  # fmt: skip
        reply = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=600.0)
        ok = reply.status_code == 200
        text = reply.json()["choices"][0]["message"]["content"] if ok else reply.text
        return name, reply.status_code, text

    # When
    with ThreadPoolExecutor(AT_ONCE) as pool:
        replies = list(pool.map(ask, names))

    # Then none failed, each gave its own answer, and the base model none of theirs
    assert Counter(status for _, status, _ in replies) == {200: len(names)}
    wrong = [(name, text) for name, _, text in replies if name and text != ANSWERS[name]]
    assert wrong == []
    assert not {text for name, _, text in replies if name is None} & set(ANSWERS.values())
