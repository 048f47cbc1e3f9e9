"""Makes one quantized folder for a command: checks, cost, environment, progress."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deployments.local_models import tandem_home
from deployments.weights.embedded import fingerprint
from deployments.weights.environments import has_gpu
from deployments.weights.keep import keep
from deployments.weights.quantizing import run
from deployments.weights.quantizing.cost import cost_of, refuse_too_little
from deployments.weights.quantizing.plan import (
    Plan,
    refuse_unfit_group,
    refuse_without_kernel,
)
from deployments.weights.quantizing.weight_files import WeightFiles
from serve_app.commands.progress import counted


@dataclass(frozen=True, slots=True)
class Making:
    """A plan for a folder of weights, and the file of calibration texts."""

    plan: Plan
    source: Path
    weights: WeightFiles
    texts_file: Path

    @property
    def recipe(self) -> str:
        """Names everything that decides the result; weights by their files' sizes and dates."""
        plan = self.plan
        files = (f"{f.name} {f.stat().st_size} {f.stat().st_mtime_ns}"
                 for f in sorted(self.source.glob("*.safetensors")))  # fmt: skip
        return fingerprint(
            str(plan), *files, self.source / "config.json", self.texts_file,
            run.PINS[plan.backend], run.SCRIPT_OF[plan.backend],
        )  # fmt: skip

    def run(self, target: Path, console: Console) -> None:
        """Fills `target`, unless an earlier run did.

        Raises:
            ValueError: it cannot work: groups, disk, memory or texts. ScriptFailed: it did not.
        """
        plan = self.plan
        refuse_unfit_group(plan, self.weights.input_sizes)
        refuse_without_kernel(plan, has_gpu=has_gpu())
        cost = cost_of(plan, self.weights)
        console.print(f"{plan.name}: {cost}")
        refuse_too_little(cost, target)
        texts = run.calibration_texts(self.texts_file)
        console.print(f"making sure of {plan.backend}'s environment", style="dim")
        python = run.quantizer(plan.backend, tandem_home())
        with counted(console, f"quantizing to {plan.name}, layers") as progress:
            was_made = keep(
                target, self.recipe,
                lambda folder: run.quantize(python, plan, self.source, folder, texts, progress),
            )  # fmt: skip
        console.print(f"{plan.name} is {'made' if was_made else 'there already'}", style="dim")
