"""A script: runs one model on vLLM, and writes down how well and how fast it does.

Run as `python deployments/evaluation/probe.py REQUEST RESULT`, two JSON files, in a process of its
own. The engine that will serve the model is also the one that judges it: on some machines it
rounds activations too, which no other measurement of the weights would show.
"""

import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams, TokensPrompt
from vllm.platforms import current_platform

from deployments.executor import IN_ONE_PROCESS, fits_one_process, num_workers

_TRIES = 3
_SHORT_PROMPT = 16
# Compiled graphs gave wrong text on CPUs, and a "node" may be half of the memory there.
_ON_CPU: dict[str, Any] = {"enforce_eager": True, "gpu_memory_utilization": 0.3}


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """All figures of one model; see `figures.Figures` for their meaning."""
    began_s = time.perf_counter()
    llm = LLM(
        request["model"],
        **(on_cpu(request["engine_kwargs"]) if current_platform.is_cpu() else {}),
        **request["engine_kwargs"],
        seed=0,
        # Every prompt is read in full, also the second time.
        enable_prefix_caching=False,
        disable_log_stats=True,
    )
    load_s = time.perf_counter() - began_s
    say("reading the held-out text")
    losses, likeliest = read(llm, request["held_out"], request["window_tokens"])
    say("answering the questions")
    replies = answer(llm, request["questions"], request["reply_tokens"])
    sizes = request["batch_sizes"]
    return {
        "load_s": load_s,
        "losses": losses,
        "likeliest": likeliest,
        "reply_tokens": [list(reply.token_ids) for reply in replies],
        "reply_texts": [reply.text for reply in replies],
        "prefill_tokens_per_s": {size: prefill_speed(llm, size, request) for size in sizes},
        "decode_tokens_per_s": {size: decode_speed(llm, size, request) for size in sizes},
    }


def on_cpu(engine_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a CPU's engine needs beside these; it runs as that of a tier does."""
    if fits_one_process(num_workers(engine_kwargs), os.environ):
        return _ON_CPU | {"distributed_executor_backend": IN_ONE_PROCESS}
    return _ON_CPU


def read(llm: LLM, text: str, window: int) -> tuple[list[float], list[int]]:
    """For every token but the first of each window: its -log probability, and the likeliest one."""
    ids = llm.get_tokenizer().encode(text)
    windows = [ids[start : start + window] for start in range(0, len(ids), window)]
    prompts = [TokensPrompt(prompt_token_ids=part) for part in windows if len(part) > 1]
    params = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=1)
    losses: list[float] = []
    likeliest: list[int] = []
    for output in llm.generate(prompts, params, use_tqdm=False):
        for token, ranked in list(
            zip(output.prompt_token_ids, output.prompt_logprobs, strict=True)
        )[1:]:
            losses.append(-ranked[token].logprob)
            likeliest.append(next(one for one, entry in ranked.items() if entry.rank == 1))
    return losses, likeliest


def answer(llm: LLM, questions: Sequence[str], num_tokens: int) -> list[Any]:
    """Greedy replies, through the model's chat template where it has one."""
    params = SamplingParams(max_tokens=num_tokens, temperature=0.0)
    if llm.get_tokenizer().chat_template is None:
        outputs = llm.generate(list(questions), params, use_tqdm=False)
    else:
        chats = [[{"role": "user", "content": question}] for question in questions]
        outputs = llm.chat(chats, params, use_tqdm=False)
    return [output.outputs[0] for output in outputs]


def prefill_speed(llm: LLM, size: int, request: dict[str, Any]) -> float:
    """Prompt tokens per second when `size` prompts arrive together."""
    say(f"timing prefill, batch {size}")
    length = int(request["prefill_tokens"])
    return size * length / fastest_s(lambda: run(llm, size, length, 1))


def decode_speed(llm: LLM, size: int, request: dict[str, Any]) -> float:
    """Reply tokens per second of `size` replies together, without their prefill."""
    say(f"timing decode, batch {size}")
    steps = int(request["decode_steps"])
    long_s = fastest_s(lambda: run(llm, size, _SHORT_PROMPT, steps + 1))
    short_s = fastest_s(lambda: run(llm, size, _SHORT_PROMPT, 1))
    return size * steps / max(1e-9, long_s - short_s)


def run(llm: LLM, size: int, prompt_tokens: int, output_tokens: int) -> None:
    """`size` replies of exactly these lengths, to random tokens."""
    prompts = [
        TokensPrompt(prompt_token_ids=random.choices(range(100, 1000), k=prompt_tokens))
        for _ in range(size)
    ]
    params = SamplingParams(
        max_tokens=output_tokens, min_tokens=output_tokens, ignore_eos=True, temperature=0.0
    )
    llm.generate(prompts, params, use_tqdm=False)


def fastest_s(task: Callable[[], None]) -> float:
    """Seconds of the fastest of a few tries: noise only ever adds time."""
    best_s = math.inf
    for _ in range(_TRIES):
        began_s = time.perf_counter()
        task()
        best_s = min(best_s, time.perf_counter() - began_s)
    return best_s


def say(step: str) -> None:
    """A line that the caller shows."""
    print(f"step: {step}", flush=True)


if __name__ == "__main__":
    result = probe(json.loads(Path(sys.argv[1]).read_text()))
    Path(sys.argv[2]).write_text(json.dumps(result))
