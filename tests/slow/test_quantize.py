"""`tandem quantize` with both backends, and its refusal, on the real model and engine.

Takes ten minutes on two cores, half of it AutoAWQ; the first time it installs 3 GB.
"""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments.evaluation.evaluate import Examination, evaluate
from deployments.local_models import embedded_path, prepare
from tests.adapters import TIER

REPOSITORY = Path(__file__).parents[2]
QUICKLY = ["--samples", "4", "--sample-tokens", "64", "--grid", "4"]


def quantized(out: Path, *options: str) -> tuple[int, str, dict[str, Any]]:
    """Exit status, what was printed, and the report."""
    tandem = Path(sys.executable).with_name("tandem")
    command = [tandem, "quantize", "embedded:smollm2-135m", "--out", out, *QUICKLY, *options]
    ran = subprocess.run(
        [*command, "--json", out.with_suffix(".json")], cwd=REPOSITORY, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    report = json.loads(out.with_suffix(".json").read_text())
    return ran.returncode, ran.stdout, report


@pytest.mark.parametrize("backend", ["llm-compressor", "autoawq"])
def test_each_backend_makes_a_model_that_knows_the_capital_of_france(
    tmp_path: Path, backend: str
) -> None:
    # When
    out = tmp_path / "model"
    status, said, report = quantized(out, "--backend", backend, "--group-size", "32")

    # Then
    assert status == 0, said
    original, variant = report["variants"]
    assert "Paris" in original["first_reply"]
    assert "Paris" in variant["first_reply"]
    assert variant["weights_bytes"] < original["weights_bytes"] / 2
    assert json.loads((out / "quantization_report.json").read_text()) == report


def test_who_judges_runs_the_model_in_the_engines_process_as_tiers_do() -> None:
    # Given a short examination, and a look at our processes with each of its steps
    exam = Examination(
        held_out="One sentence is enough for this.", questions=("What is the capital of France?",),
        reply_tokens=8, prefill_tokens=8, decode_steps=2, batch_sizes=(1,),
    )  # fmt: skip
    seen: set[str] = set()

    def look(step: str) -> None:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                seen.add(" ".join(process.cmdline()).strip())

    # When the model is judged
    prepare([TIER], print)
    figures = evaluate("original", embedded_path(TIER), exam, look, {"dtype": "bfloat16"})

    # Then its engine had no worker of its own
    assert "Paris" in figures.reply_texts[0]
    assert {name for name in seen if name.startswith("VLLM::")} == {"VLLM::EngineCore"}


def test_what_loses_too_much_is_refused_and_kept_beside(tmp_path: Path) -> None:
    # Given a method that costs so small a model far more than others at the same width
    out = tmp_path / "model"
    method = ["--method", "gptq", "--group-size", "32", "--max-perplexity-increase", "0.15"]

    # When
    status, said, report = quantized(out, *method)

    # Then
    assert status == 1
    assert report["variants"][1]["perplexity_increase"] > 0.15
    assert "Refused: perplexity grew by" in said
    assert not out.exists()
    assert (tmp_path / "model.candidate" / "quantization_report.json").is_file()
