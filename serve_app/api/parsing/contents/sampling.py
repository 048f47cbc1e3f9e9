"""Numbers and lists that decide how much an engine works. A body in; refuses the boundless."""

import math
import re
from typing import Any

from serve_app.access.settings import InputConfig
from serve_app.api.parsing.fields import (
    boolean,
    identifier,
    integer,
    invalid,
    listed,
    mapping,
    number,
)
from serve_app.errors import InvalidRequest

_LONGEST_STOP = 256
_MOST_LOGPROBS = 20
_LARGEST_SEED = 2**63
_TOKEN_ID = re.compile(r"\d{1,10}")
_NUMBERS = {
    "temperature": (0.0, 2.0), "top_p": (0.0, 1.0), "min_p": (0.0, 1.0),
    "frequency_penalty": (-2.0, 2.0), "presence_penalty": (-2.0, 2.0),
    "repetition_penalty": (0.0, 100.0), "length_penalty": (-100.0, 100.0),
}  # fmt: skip
# What would run a program, read a file or unpickle bytes of the caller's own in the engine.
# `vllm_xargs` carries any of these past vLLM's own checks.
_NEVER = (
    "prompt_embeds", "kv_transfer_params", "ec_transfer_params", "vllm_xargs",
    "mm_processor_kwargs", "media_io_kwargs",
)  # fmt: skip
_BOOLEANS = (
    "echo", "include_stop_str_in_output", "skip_special_tokens", "add_special_tokens",
    "add_generation_prompt", "continue_final_message", "parallel_tool_calls", "use_beam_search",
)  # fmt: skip
_IDENTIFIERS = ("user", "safety_identifier", "prompt_cache_key", "cache_salt")


def require_sampling(body: dict[str, Any], limits: InputConfig) -> None:
    """Raises InvalidRequest for values that are no parameter of a request or cost without bound."""
    _refuse_dangerous(body, limits)
    for name, (minimum, maximum) in _NUMBERS.items():
        number(body, name, minimum=minimum, maximum=maximum)
    for name in _BOOLEANS:
        boolean(body, name)
    for name in _IDENTIFIERS:
        identifier(body.get(name), name)
    integer(body, "seed", minimum=-_LARGEST_SEED, maximum=_LARGEST_SEED - 1)
    integer(body, "top_k", minimum=-1, maximum=2**31 - 1)
    integer(body, "best_of", minimum=1, maximum=limits.max_n)
    options = mapping(body, "stream_options")
    if not isinstance(options.get("include_usage", False), bool | None):
        raise invalid("stream_options.include_usage", "true or false", options["include_usage"])
    mapping(body, "metadata")
    mapping(body, "chat_template_kwargs")
    _require_logprobs(body)
    _require_stops(body, limits)
    _require_biases(body, limits)


def _refuse_dangerous(body: dict[str, Any], limits: InputConfig) -> None:
    refused = [name for name in _NEVER if body.get(name) is not None]
    if body.get("chat_template") is not None and not limits.chat_template:
        refused.append("chat_template")
    if refused:
        raise InvalidRequest(
            f"{refused[0]}: not accepted from callers, because it would make the engine run or "
            "read something of theirs. Leave it out.",
            param=refused[0],
        )


def _require_logprobs(body: dict[str, Any]) -> None:
    if not isinstance(body.get("logprobs"), bool):
        integer(body, "logprobs", minimum=0, maximum=_MOST_LOGPROBS)
    integer(body, "top_logprobs", minimum=0, maximum=_MOST_LOGPROBS)
    integer(body, "prompt_logprobs", minimum=0, maximum=_MOST_LOGPROBS)


def _require_stops(body: dict[str, Any], limits: InputConfig) -> None:
    stop = body.get("stop")
    stops = {"stop": [stop]} if isinstance(stop, str) else body
    for name in ("stop", "bad_words"):
        source = stops if name == "stop" else body
        for text in listed(source, name, most=limits.max_stops, limit="input.max_stops"):
            if not isinstance(text, str) or len(text) > _LONGEST_STOP:
                raise invalid(name, f"texts of at most {_LONGEST_STOP} characters", text)
    for name in ("stop_token_ids", "allowed_token_ids"):
        most = limits.max_logit_biases if name == "allowed_token_ids" else limits.max_stops
        for token in listed(body, name, most=most, limit="input"):
            if type(token) is not int or not 0 <= token < 2**31:
                raise invalid(name, "token ids", token)


def _require_biases(body: dict[str, Any], limits: InputConfig) -> None:
    biases = mapping(body, "logit_bias")
    if len(biases) > limits.max_logit_biases:
        must = f"an object of at most {limits.max_logit_biases} entries (input.max_logit_biases)"
        raise invalid("logit_bias", must, biases)
    for token, bias in biases.items():
        if not _TOKEN_ID.fullmatch(token):
            raise invalid("logit_bias", "keyed by token ids", token)
        is_number = isinstance(bias, int | float) and not isinstance(bias, bool)
        if not is_number or not math.isfinite(bias) or abs(bias) > 100:
            raise invalid(f"logit_bias.{token}", "a number from -100 to 100", bias)
