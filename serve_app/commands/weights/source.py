"""A MODEL of the command line becomes a folder on this machine."""

from collections.abc import Callable
from pathlib import Path

from deployments.local_models import embedded_name, embedded_path, prepare, resolve_source


def model_folder(source: str, say: Callable[[str], None]) -> Path:
    """`embedded:NAME` is prepared, a folder taken as it is, a Hugging Face id downloaded.

    Raises:
        ValueError: when it is none of these, or cannot be downloaded.
        ScriptFailed: when an embedded model cannot be made.
    """
    name = embedded_name(source)
    if name is not None:
        prepare([name], say)
        return embedded_path(name)
    folder = Path(str(resolve_source(source)))
    if (folder / "config.json").is_file():
        return folder.resolve()
    if folder.exists():
        raise ValueError(f"MODEL {source!r}: the folder holds no config.json, so it is no model")
    if source.startswith(("/", ".", "~")) or source.count("/") != 1:
        raise ValueError(f"MODEL {source!r}: there is no such folder")
    return _downloaded(source, say)


def _downloaded(source: str, say: Callable[[str], None]) -> Path:
    # A second of imports, for models that are not here yet.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    say(f"downloading {source} from Hugging Face")
    patterns = ["*.json", "*.safetensors", "*.jinja", "tokenizer*"]
    try:
        return Path(snapshot_download(source, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as err:
        raise ValueError(
            f"MODEL {source!r}: is no folder here, and Hugging Face did not give it: {err}"
        ) from err
