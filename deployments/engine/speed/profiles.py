"""Measured speeds, kept on this machine from one start to the next. By fingerprint."""

import json
import os
import tempfile
from pathlib import Path

from deployments.local_models import tandem_home
from deployments.messages import Profile


def stored(fingerprint: str) -> Profile | None:
    """The profile of an earlier start, or None."""
    path = _path(fingerprint)
    if not path.is_file():
        return None
    profile: Profile = json.loads(path.read_text())
    return profile


def store(fingerprint: str, profile: Profile) -> None:
    """Keeps a profile for the next start; atomically, replicas of one tier may start together."""
    path = _path(fingerprint)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as file:
        json.dump(profile, file)
    os.replace(temporary, path)


def _path(fingerprint: str) -> Path:
    return tandem_home() / "profiles" / f"{fingerprint}.json"
