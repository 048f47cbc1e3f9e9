"""What nobody reads any more at a place: what was replaced, uploads that never ended."""

import re
from collections import defaultdict
from dataclasses import dataclass

from deployments.store.manifest import MANIFEST
from deployments.store.places.types import Place
from deployments.store.transfer.push import published_manifest
from deployments.store.verify import not_published

_FOLDER = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Garbage:
    """Objects of one push that the manifest does not name."""

    folder: str
    keys: tuple[str, ...]
    num_bytes: int


def garbage(place: Place, older_than_s: float) -> list[Garbage]:
    """Objects that the manifest does not name, of pushes whose newest such is older than that.

    Younger ones may be a push under way. When the manifest itself is younger nothing is garbage
    yet: whatever it replaced, however old, may be what a replica is reading.

    Raises:
        StoreFailed: nothing is published here, so nothing says what is garbage.
    """
    manifest = published_manifest(place)
    if manifest is None:
        raise not_published(place)
    ages_s, sizes = place.ages_s(), place.sizes()
    if ages_s.get(MANIFEST, 0.0) < older_than_s:
        return []
    named = {piece.key for piece in manifest.pieces}
    by_folder: defaultdict[str, list[str]] = defaultdict(list)
    for key in ages_s:
        folder, is_inside, _ = key.partition("/")
        if is_inside and _FOLDER.fullmatch(folder) and key not in named:
            by_folder[folder].append(key)
    return [
        Garbage(folder, tuple(keys), sum(sizes.get(key, 0) for key in keys))
        for folder, keys in sorted(by_folder.items())
        if min(ages_s[key] for key in keys) >= older_than_s
    ]


def collect(place: Place, found: list[Garbage], older_than_s: float) -> int:
    """Deletes what was found and ends unfinished uploads; how many of those there were."""
    place.delete([key for each in found for key in each.keys])
    return place.abort_unfinished(older_than_s)
