"""Runs a quantizer on a model folder. A plan and a folder in, a folder of smaller weights out."""

import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from deployments.weights.environments import pinned_environment, pins_of
from deployments.weights.quantizing.old_config import link_for_transformers_4
from deployments.weights.quantizing.plan import Backend, Plan
from deployments.weights.scripts import run_script

SCRIPTS = Path(__file__).parent
CALIBRATION = SCRIPTS / "calibration.txt"
PINS = {
    Backend.llm_compressor: pins_of("quantize"),
    Backend.autoawq: pins_of("autoawq"),
}
SCRIPT_OF = {
    Backend.llm_compressor: SCRIPTS / "llm_compressor.py",
    Backend.autoawq: SCRIPTS / "autoawq.py",
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
_NOT_WEIGHTS = ("tokenizer*", "chat_template*", "special_tokens_map.json", "generation_config.json")
# llm-compressor: "(4/31): Calibrating: ..."; AutoAWQ: "AWQ:  13%|#   | 4/30 [...".
_PROGRESS = re.compile(r"^\((\d+)/(\d+)\): |^AWQ: .*\| (\d+)/(\d+) ")

Progress = Callable[[int, int], None]


def quantizer(backend: Backend, home: Path) -> Path:
    """The Python that has the quantizer, installed on first use.

    Raises:
        ScriptFailed: when the installation fails. ValueError: when there is no `uv`.
    """
    pins = PINS[backend]
    return pinned_environment(home, pins.stem, pins)


def quantize(
    python: Path, plan: Plan, source: Path, target: Path, texts: list[str], progress: Progress
) -> None:
    """Fills the empty folder `target` with the quantized model, its tokenizer included.

    Args:
        python: of the environment that `quantizer` made. texts: to calibrate with.
        progress: told how many of how many layers are done.

    Raises:
        ScriptFailed: the quantizer failed; the message has its last lines.
    """
    with tempfile.TemporaryDirectory(prefix="tandem-quantize-") as name:
        texts_file, linked = Path(name) / "texts.json", Path(name) / "model"
        texts_file.write_text(json.dumps(texts[: plan.samples]))
        folder = source
        if plan.backend == Backend.autoawq:
            linked.mkdir()
            link_for_transformers_4(source, linked)
            folder = linked
        options = json.dumps(asdict(plan))
        command: list[str | Path] = [
            python, SCRIPT_OF[plan.backend], folder, target, texts_file, options,
        ]  # fmt: skip
        run_script(command, OFFLINE, lambda line: _tell(line, progress))
    # Copied, not saved by the quantizer: calibration leaves its cut in the tokenizer's state, and
    # transformers 4 would rewrite it.
    for pattern in _NOT_WEIGHTS:
        for file in source.glob(pattern):
            shutil.copy2(file, target)


def calibration_texts(file: Path) -> list[str]:
    """The lines of a text file that hold anything.

    Raises:
        ValueError: when there are none.
    """
    lines = [line.strip() for line in file.read_text().splitlines()]
    texts = [line for line in lines if line]
    if not texts:
        raise ValueError(f"--calibration-file {file}: holds no text; one sample per line")
    return texts


def _tell(line: str, progress: Progress) -> None:
    found = _PROGRESS.match(line)
    if found:
        done, total = (int(number) for number in found.groups() if number is not None)
        progress(done, total)
