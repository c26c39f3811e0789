"""What a store says of itself besides its label maps: the checkpoint, commit and tags of who predicted it.

They are plain values in the attributes of the group with the label maps, `segpipe: {metadata: {...}}`.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from segpipe.config import MetadataName, MetadataValue
from segpipe.sources.completeness import ATTRIBUTE
from segpipe.sources.layouts import ImageSet, group_above
from segpipe.sources.metadata import StoreView

MAX_ENTRIES = 100

_ENTRY: TypeAdapter[Any] = TypeAdapter(dict[MetadataName, MetadataValue])


def store_metadata(view: StoreView, images: ImageSet) -> tuple[dict[str, Any], list[str]]:
    """The metadata that a store has of itself, and the names of what is none: no plain value, or too long."""
    group = group_above(view, images.arrays[0].path) if images.arrays else None
    described = group.attributes.get(ATTRIBUTE) if group else None
    given = described.get("metadata") if isinstance(described, dict) else None
    if not isinstance(given, dict):
        return {}, []
    found: dict[str, Any] = {}
    left_out = [str(name) for name in list(given)[MAX_ENTRIES:]]
    for name, value in list(given.items())[:MAX_ENTRIES]:
        try:
            found |= _ENTRY.validate_python({name: value})
        except ValidationError:
            left_out.append(str(name))
    return found, left_out
