"""A tier that answers at once, after doing to the body what a real tier's replica does to it."""

from collections.abc import AsyncGenerator

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from deployments.events import DONE, wants_usage, with_usage
from deployments.messages import EngineCall, Head, Load, Profile, Reply, Tail, TierFacts, Usage

PROFILE: Profile = {
    "prefill_base_s": 0.001, "prefill_per_token_s": 1e-6,
    "step_base_s": 0.001, "step_per_sequence_s": 1e-5,
}  # fmt: skip
# Touches what templates of real models touch.
_TEMPLATE = """\
{%- for message in messages %}<|{{ message.role }}|>{{ message.content | trim }}
{%- if message.tool_calls %}{% for call in message.tool_calls %}{{ call.function.name }}
{{- call.function.arguments | tojson }}{% endfor %}{% endif %}
{%- endfor %}{% if tools %}{{ tools | tojson }}{% endif %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""
LOAD: Load = {"replica": "here", "running": 0, "waiting": 0, "queued_tokens": 0, "kv_usage": 0.0}


class InstantTier:
    """What the dispatcher and the readiness check ask of a tier."""

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id

    async def describe(self) -> TierFacts:
        tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = Whitespace()
        return {
            "model_id": self._model_id,
            "context_tokens": 8192,
            "max_num_seqs": 64,
            "max_num_batched_tokens": 8192,
            "tokenizer_json": tokenizer.to_str().encode(),
            "chat_template": _TEMPLATE,
            "special_tokens": {},
            "profile": PROFILE,
            "fingerprint": "instant",
            "engine": "instant",
        }

    async def measure(self) -> TierFacts:
        return await self.describe()

    async def complete(self, call: EngineCall) -> Reply:
        usage: Usage = {"prompt_tokens": 1, "completion_tokens": 1}
        return {"status": 200, "body": b'{"choices": []}', "usage": usage, "load": LOAD}

    async def stream(self, call: EngineCall) -> AsyncGenerator[Head | bytes | Tail, None]:
        body = with_usage(call["body"])
        assert wants_usage(body)
        usage: Usage = {"prompt_tokens": 1, "completion_tokens": 1}
        yield {"status": 200, "data": b'data: {"choices": []}\n\n', "load": LOAD}
        yield {"data": DONE.encode(), "usage": usage, "load": LOAD}
