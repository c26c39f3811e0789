"""Whether consolidated metadata say of a node what its own document says."""

from __future__ import annotations

import json
from typing import Any

from segpipe.sources.documents import Json, array_shape, kept, zarr_metadata

COMPARED = 16
"""Documents of a store that are read although consolidated metadata stand for them, to be compared.

Copying a store loses the times by which the newer of the two would be known. To read the documents of 10^5
arrays would take what consolidated metadata are there to save; `segpipe validate --deep` compares them all.
"""

ADVICE = (
    "consolidate the metadata again (zarr.consolidate_metadata) after making sure that the documents of the "
    "arrays are right"
)


def contradiction(own: Json, consolidated: Json) -> str:
    """What differs between two documents of one node, in words; nothing if they mean the same.

    >>> contradiction({"shape": [4], "attributes": {}}, {"shape": [5]})
    'shape [5] in consolidated metadata and [4] in its own document'
    """
    for name in sorted(own.keys() | consolidated.keys()):
        one, other = own.get(name), consolidated.get(name)
        if name == "consolidated_metadata" or _text(one) == _text(other):
            continue
        if (
            "shape" not in own
            or name in ("shape", "attributes", "dimension_names")
            or not _alike(own, consolidated)
        ):
            return f"{name} {_shown(other)} in consolidated metadata and {_shown(one)} in its own document"
    return ""


def _alike(own: Json, consolidated: Json) -> bool:
    """Whether two documents of arrays decode alike, however each is written down.

    Raises:
        DocumentFault: one of them is no document of an array that can be read.
    """
    one, other = (zarr_metadata(kept(raw), array_shape(raw)).to_dict() for raw in (own, consolidated))
    return _text(one) == _text(other)


def _text(value: Any) -> str:
    """A value as text, equal for equal values, NaN too; what is empty is as if it were not there."""
    return json.dumps(
        value or None if isinstance(value, list | dict | tuple) else value, sort_keys=True, default=str
    )


def _shown(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:60]}..."
