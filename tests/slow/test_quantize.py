"""`tandem quantize` with both backends, and its refusal, on the real model and engine.

Takes ten minutes on two cores, half of it AutoAWQ; the first time it installs 3 GB.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
