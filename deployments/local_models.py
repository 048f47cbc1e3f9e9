"""The embedded models: what needs no download but the package index, made on this machine.

In: names. Out: folders under TANDEM_HOME/models that vLLM, transformers and tokenizers load.
Torch works in processes of its own, so that importing this costs nothing.

>>> resolve_source("embedded:smollm2-135m")
'/home/me/.cache/tandem/models/smollm2-135m'
"""

import os
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from deployments.weights.embedded import MODELS, EmbeddedModel, models_folder
from deployments.weights.keep import keep
from deployments.weights.scripts import Report

PREFIX = "embedded:"


def tandem_home() -> Path:
    """Where Tandem keeps what it makes: $TANDEM_HOME, or `tandem` in the user's cache folder."""
    home = os.environ.get("TANDEM_HOME")
    if home:
        return Path(home).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache).absolute() / "tandem"


def embedded_path(name: str) -> Path:
    """The folder of an embedded model, whether or not it was prepared.

    Raises:
        ValueError: when no embedded model has this name.
    """
    return models_folder(tandem_home()) / known(name, MODELS).name


def embedded_name(source: object) -> str | None:
    """NAME of a source `embedded:NAME`; None for any other source.

    Raises:
        ValueError: when no embedded model has this name.
    """
    if isinstance(source, str) and source.startswith(PREFIX):
        return known(source.removeprefix(PREFIX), MODELS).name
    return None


def resolve_source(source: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """A tier's `model_source` as the engine takes it: `embedded:NAME`, `~` and `$VARS` expanded.

    Raises:
        ValueError: when the embedded model is unknown or a variable is not set.
    """
    if not isinstance(source, str):
        return source
    name = embedded_name(source)
    if name is not None:
        return str(embedded_path(name))
    expanded = os.path.expandvars(os.path.expanduser(source))
    unset = re.search(r"\$(\w+|\{\w+\})", expanded)
    if unset:
        raise ValueError(f"model_source {source!r}: {unset[0]} is not set in the environment")
    return expanded


def prepare(
    names: Iterable[str], report: Report, models: Mapping[str, EmbeddedModel] = MODELS
) -> None:
    """Makes the embedded models that are not there yet, each after the one it is made of.

    Safe to run twice at once, and again after any interruption: models that are whole are kept.

    Raises:
        ValueError: when no embedded model has one of the names.
        ScriptFailed: when a model cannot be made.
    """
    home = tandem_home()
    for model in makers_first(names, models):
        folder = models_folder(home) / model.name
        was_made = keep(folder, model.recipe(), partial(model.make, home, report))
        report(f"{model.name} is {'made' if was_made else 'there already'}")


def makers_first(names: Iterable[str], models: Mapping[str, EmbeddedModel]) -> list[EmbeddedModel]:
    """The named models and those they are made of, each once and after its maker."""
    ordered: dict[str, EmbeddedModel] = {}
    for name in names:
        model = known(name, models)
        if model.made_of is not None:
            ordered |= {maker.name: maker for maker in makers_first([model.made_of], models)}
        ordered[name] = model
    return list(ordered.values())


def known(name: str, models: Mapping[str, EmbeddedModel]) -> EmbeddedModel:
    if name not in models:
        raise ValueError(f"no embedded model is called {name!r}; there are {sorted(models)}")
    return models[name]
