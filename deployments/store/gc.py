"""What nobody reads any more at a place: pieces of replaced versions, uploads that never ended."""

import re
from collections.abc import Iterable

from deployments.store.manifest import MANIFEST, PIECES, Manifest
from deployments.store.places.types import Place, StoreFailed
from deployments.store.transfer.push import published_manifest
from deployments.store.verify import not_published

_PIECE = re.compile(re.escape(PIECES) + "/[0-9a-f]{64}")


def garbage(place: Place, older_than_s: float) -> dict[str, int]:
    """Bytes by key of the pieces that the manifest does not name, and that are older than that.

    Younger ones may be of a push under way; one that loses an older piece sends it again. When the
    manifest itself is younger nothing is garbage yet: whatever it replaced, however old, may be
    what a replica is reading.

    Raises:
        StoreFailed: there is neither a model here nor a piece of one.
    """
    ages_s, sizes, manifest = place.ages_s(), place.sizes(), published_manifest(place)
    pieces = [key for key in ages_s if _PIECE.fullmatch(key)]
    if manifest is None and not pieces:
        raise not_published(place)
    if manifest is not None and ages_s.get(MANIFEST, 0.0) < older_than_s:
        return {}
    needed = _needed(manifest)
    return {
        key: sizes.get(key, 0)
        for key in pieces
        if key not in needed and ages_s[key] >= older_than_s
    }


def collect(place: Place, keys: Iterable[str], older_than_s: float) -> int:
    """Deletes what was found and ends unfinished uploads; how many of those there were.

    Raises:
        StoreFailed: the place refuses, or a model was published meanwhile that needs some of it.
    """
    found = set(keys)
    place.delete(sorted(found - _needed(published_manifest(place))))
    # A push lists what is there again when it has published; what it saw too early is told here.
    if lost := (found & _needed(published_manifest(place))) - place.sizes().keys():
        reason = f"the model that was published meanwhile needs {len(lost)} of the deleted pieces"
        raise StoreFailed(place.uri, "kept whole", reason, "Push that model again.")
    return place.abort_unfinished(older_than_s)


def _needed(manifest: Manifest | None) -> frozenset[str]:
    return manifest.keys if manifest else frozenset()
