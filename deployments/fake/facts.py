"""What the fake says of itself: a tier's timing in, TierFacts out."""

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from deployments.messages import TierFacts
from deployments.spec import FakeTiming

_TEMPLATE = "{% for message in messages %}{{ message.content }} {% endfor %}"


def fake_tokenizer() -> Tokenizer:
    """One token a word."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


def fake_facts(model_id: str, timing: FakeTiming, tokenizer: Tokenizer) -> TierFacts:
    """Facts of one replica; its profile needs no measuring, it is the timing itself."""
    return {
        "model_id": model_id,
        "context_tokens": timing.context_tokens,
        "max_num_seqs": timing.max_num_seqs,
        "max_num_batched_tokens": timing.context_tokens,
        "tokenizer_json": tokenizer.to_str().encode(),
        "chat_template": _TEMPLATE,
        "special_tokens": {},
        "profile": {
            "prefill_base_s": timing.prefill_base_s,
            "prefill_per_token_s": timing.prefill_per_token_s,
            "step_base_s": timing.step_base_s,
            "step_per_sequence_s": timing.step_per_sequence_s,
        },
        "fingerprint": f"fake-{timing.model_dump_json()}",
        "engine": "fake",
    }
