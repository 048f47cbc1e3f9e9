"""Two workers that share every layer say what the model says: vLLM on CPU, a core for each."""

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from deployments.local_models import embedded_path, prepare
from tests.adapters import TIER
from tests.serving import running, vllm_processes

PROMPT = "The engine shares each layer between its workers, and adds up what they found."
TOKENS = 16


def a_random_model(folder: Path) -> LlamaForCausalLM:
    """With the embedded model's tokenizer, but eight heads, so that two workers can share them."""
    prepare([TIER], print)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=49152, hidden_size=256, intermediate_size=512, num_hidden_layers=2,
            num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=512,
            bos_token_id=1, eos_token_id=2, pad_token_id=2,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    for file in [*embedded_path(TIER).glob("tokenizer*"), *embedded_path(TIER).glob("chat_t*")]:
        shutil.copy2(file, folder)
    return model


def two_workers(folder: Path) -> dict[str, Any]:
    """`args` of one tier of the model in `folder`, for two cores."""
    return {
        "llm_configs": [
            {
                "model_loading_config": {"model_id": "shared", "model_source": str(folder)},
                "accelerator_config": {"kind": "cpu"},
                "engine_kwargs": {
                    "dtype": "float32", "enforce_eager": True, "max_model_len": 256,
                    "max_num_seqs": 4, "block_size": 32, "tensor_parallel_size": 2,
                },
                "deployment_config": {"num_replicas": 1, "ray_actor_options": {"num_cpus": 0}},
                "runtime_env": {
                    "env_vars": {
                        "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "0|1",
                    }
                },
            }
        ],
        "slo_classes": {"patient": {"e2e_ms": 600_000}},
    }  # fmt: skip


def log_probabilities(
    model: LlamaForCausalLM, prompt_ids: list[int], reply_ids: list[int]
) -> torch.Tensor:
    """By transformers: of each token of the vocabulary, at each place of the reply."""
    with torch.inference_mode():
        logits = model(torch.tensor([prompt_ids + reply_ids])).logits[0]
    return logits[len(prompt_ids) - 1 : -1].log_softmax(-1)


def test_two_workers_say_what_transformers_says(tmp_path: Path) -> None:
    # Given a tier of two workers
    model = a_random_model(tmp_path)
    with running(two_workers(tmp_path), patience_s=900.0) as instance:
        processes = vllm_processes(instance)
        # When it is asked
        answer = httpx.post(
            f"{instance.address}/v1/completions", timeout=600.0,
            json={"model": "shared", "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0,
                  "ignore_eos": True, "logprobs": 1, "return_token_ids": True},
        )  # fmt: skip
    # Then both have worked, and each token is the likeliest, and as likely as in one process
    assert processes == ["VLLM::EngineCore", "VLLM::Worker_TP0", "VLLM::Worker_TP1"]
    choice = answer.json()["choices"][0]
    ids = choice["token_ids"]
    expected = log_probabilities(model, choice["prompt_token_ids"], ids)
    assert len(ids) == TOKENS
    assert ids == expected.argmax(-1).tolist()
    assert choice["logprobs"]["token_logprobs"] == pytest.approx(
        expected.max(-1).values.tolist(), abs=1e-3
    )
