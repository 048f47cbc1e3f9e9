"""Measures model folders, each in an engine of its own. Folders and texts in, Figures out."""

import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployments.evaluation.figures import Figures
from deployments.weights.quantizing.run import OFFLINE
from deployments.weights.scripts import ScriptFailed, run_script

HELD_OUT = Path(__file__).with_name("held_out.txt")
QUESTIONS = Path(__file__).with_name("questions.txt")
_PROBE = Path(__file__).with_name("probe.py")
_STEP = "step: "
# vLLM's worker says the cause first; what follows is how its processes fell with it.
_CAUSE = re.compile(r"\b[A-Za-z]*(Error|Exception): ")
# Room for the whole batch; a value of the user's own comes first.
_KV_GB_ON_CPU = {"VLLM_CPU_KVCACHE_SPACE": "1"}


@dataclass(frozen=True, slots=True)
class Examination:
    """What every variant is asked.

    Args:
        held_out: text that no variant was calibrated on. questions: one per line.
        engine_kwargs: vLLM's, on top of what this machine needs; for instance
            `tensor_parallel_size`.
    """

    held_out: str = field(default_factory=HELD_OUT.read_text)
    questions: tuple[str, ...] = field(
        default_factory=lambda: tuple(QUESTIONS.read_text().splitlines())
    )
    engine_kwargs: Mapping[str, Any] = field(default_factory=dict)
    window_tokens: int = 256
    reply_tokens: int = 48
    prefill_tokens: int = 128
    decode_steps: int = 24
    batch_sizes: tuple[int, ...] = (1, 8, 32)

    def request(self, model: Path, engine_kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """What the probe is told."""
        longest = max(self.window_tokens, self.prefill_tokens, 2 * self.reply_tokens) * 2
        defaults = {"max_model_len": longest, "max_num_seqs": max(self.batch_sizes)}
        return {
            "model": str(model),
            "engine_kwargs": defaults | dict(self.engine_kwargs) | dict(engine_kwargs),
            "held_out": self.held_out,
            "questions": list(self.questions),
            "window_tokens": self.window_tokens,
            "reply_tokens": self.reply_tokens,
            "prefill_tokens": self.prefill_tokens,
            "decode_steps": self.decode_steps,
            "batch_sizes": list(self.batch_sizes),
        }


def evaluate(
    name: str,
    folder: Path,
    examination: Examination,
    say: Callable[[str], None],
    engine_kwargs: Mapping[str, Any] | None = None,
) -> Figures:
    """Starts the model on vLLM, examines it and stops it.

    Args:
        engine_kwargs: of this variant only, such as `dtype`.

    Raises:
        ScriptFailed: the engine did not take the model; the message has its reason.
    """
    with tempfile.TemporaryDirectory(prefix="tandem-evaluate-") as temporary:
        request, result = Path(temporary) / "request.json", Path(temporary) / "result.json"
        request.write_text(json.dumps(examination.request(folder, engine_kwargs or {})))
        say(f"{name}: starting the engine")

        causes: list[str] = []

        def hear(line: str) -> None:
            if line.startswith(_STEP):
                say(f"{name}: {line.removeprefix(_STEP)}")
            elif _CAUSE.search(line):
                causes.append(line)

        try:
            run_script([sys.executable, _PROBE, request, result], _KV_GB_ON_CPU | OFFLINE, hear)
        except ScriptFailed as err:
            raise ScriptFailed(
                f"{name} does not run on this machine's engine: {causes[0]}" if causes else str(err)
            ) from err
        return Figures.of(name, weights_bytes(folder), json.loads(result.read_text()))


def weights_bytes(folder: Path) -> int:
    """Of all weight files in the folder."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
