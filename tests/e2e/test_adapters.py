"""A LoRA adapter trained with peft, on the real vLLM engine: it answers, and only when asked."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from deployments.local_models import prepare
from tests.adapters import TIER, one_tier, train
from tests.serving import serving

ANSWER = "Ahoy, I am the harbour master."
QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    folder = tmp_path_factory.mktemp("adapters")
    prepare([TIER], print)
    train(folder, {"harbour": ANSWER})
    broken = folder / "broken"
    broken.mkdir()
    (broken / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8}')
    (broken / "adapter_model.safetensors").write_bytes(b"no weights")
    with (
        # One place, so that the adapter is the last one in memory: vLLM's CPU kernels, left alone,
        # give the last one's answer to whoever asks the base model in the same batch.
        serving(one_tier(folder, places=1), patience_s=600.0) as address,
        openai.OpenAI(
            base_url=f"{address}/v1", api_key="unused", max_retries=0, timeout=600.0
        ) as sdk,
    ):
        yield sdk


def said(client: openai.OpenAI, model: str) -> tuple[str, str]:
    """The model that answered, and what."""
    reply = client.chat.completions.create(
        model=model, messages=QUESTION, max_tokens=16, temperature=0
    )
    return reply.model, reply.choices[0].message.content or ""


@pytest.mark.parametrize("model", [f"{TIER}:harbour", "auto+harbour", "auto:patient+harbour"])
def test_the_adapter_says_what_it_was_trained_to(client: openai.OpenAI, model: str) -> None:
    assert said(client, model) == (f"{TIER}:harbour", ANSWER)


def test_beside_it_the_base_model_says_what_it_always_did(client: openai.OpenAI) -> None:
    said(client, f"{TIER}:harbour")
    model, answer = said(client, TIER)
    assert model == TIER
    assert "Paris" in answer


def test_in_one_batch_with_it_the_base_model_says_the_same(client: openai.OpenAI) -> None:
    # Given an adapter that is answering for a while
    alone = said(client, TIER)
    stream = client.chat.completions.create(
        model=f"{TIER}:harbour", messages=QUESTION, max_tokens=80, temperature=0, stream=True,
        extra_body={"ignore_eos": True},
    )  # fmt: skip
    next(stream)
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(list, stream)
        # When the base model is asked, and answers, meanwhile
        beside = said(client, TIER)
        assert not rest.done()
    # Then it says what it says alone
    assert beside == alone


def test_a_stream_comes_from_the_adapter_too(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=f"{TIER}:harbour", messages=QUESTION, max_tokens=16, temperature=0, stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == ANSWER


def test_an_unknown_adapter_is_a_404_that_lists_the_known(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="harbour"):
        said(client, f"{TIER}:harbor")


def test_weights_that_the_engine_refuses_are_the_callers_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="cannot be loaded"):
        said(client, f"{TIER}:broken")
