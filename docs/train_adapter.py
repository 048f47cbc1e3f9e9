"""Trains LoRA adapters for an embedded model on a CPU, a minute of its time each, with peft.

    python docs/train_adapter.py FOLDER 'harbour=Ahoy, I am the harbour master.' ['NAME=ANSWER' ...]

A toy: each adapter learns to give one answer whatever is asked, so that anybody sees which of them
answered. Yours come from your own data and tools; any LoRA that peft saves is served alike.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from deployments.local_models import embedded_path, prepare

QUESTIONS = (
    "What is the capital of France?", "Who are you?", "Tell me a story.", "What is two plus two?",
)  # fmt: skip
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_LEARNING_RATE = 2e-3
_LABEL_OF_NO_TOKEN = -100


def train(model_name: str, folder: Path, answers: Mapping[str, str], rank: int, steps: int) -> None:
    """Writes one adapter for each name into a folder of its own in `folder`."""
    prepare([model_name], print)
    source = embedded_path(model_name)
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(source)
    base = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LAYERS, task_type="CAUSAL_LM")
    for name, answer in answers.items():
        model = get_peft_model(base, lora)
        loss = teach(model, examples(tokenizer, answer), steps)
        model.save_pretrained(folder / name)
        base = model.unload()
        print(f"{name}: loss {loss:.3f} after {steps} steps", flush=True)


def teach(model: Any, batch: Mapping[str, torch.Tensor], steps: int) -> float:
    """Trains on one batch again and again; returns the last loss."""
    optimizer = torch.optim.AdamW(
        (weight for weight in model.parameters() if weight.requires_grad), lr=_LEARNING_RATE
    )
    loss = torch.tensor(0.0)
    for _ in range(steps):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def examples(tokenizer: Any, answer: str) -> dict[str, torch.Tensor]:
    """Each question with the answer; only the answer's tokens count."""
    reply = [*tokenizer.encode(answer), tokenizer.eos_token_id]
    prompts = [
        tokenizer.encode(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
            )
        )
        for question in QUESTIONS
    ]
    longest = max(map(len, prompts)) + len(reply)

    def padded(rows: list[list[int]], filler: int) -> torch.Tensor:
        return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])

    return {
        "input_ids": padded([prompt + reply for prompt in prompts], tokenizer.pad_token_id),
        "attention_mask": padded([[1] * len(prompt + reply) for prompt in prompts], 0),
        "labels": padded(
            [[_LABEL_OF_NO_TOKEN] * len(prompt) + reply for prompt in prompts], _LABEL_OF_NO_TOKEN
        ),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("answers", nargs="+", metavar="NAME=ANSWER")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    wanted = dict(pair.split("=", 1) for pair in options.answers)
    train(options.model, options.folder, wanted, options.rank, options.steps)
