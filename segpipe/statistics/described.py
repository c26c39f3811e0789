"""What there is to know of a kind of statistic before it is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from segpipe.statistics.base import Statistic

SHOWN_SIZE = (1024, 2048)
"""The size of an image, px, for which a halo is told."""

COMPARED = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
"""What a JSON schema calls the bounds of a number."""


def described(kind: type[Statistic]) -> dict[str, Any]:
    """A kind of statistic as plain data: what is summed, what must be read for it, and its figures.

    `halo_px` is what is read around an image of `SHOWN_SIZE` under default parameters.

    >>> from segpipe.statistics.base import STATISTICS
    >>> found = described(STATISTICS["boundary_iou"])
    >>> found["scope"], found["halo_px"], found["parameters"]["width_px"]
    ('halo', 46, {'default': None, 'expected': 'integer >= 1, or none'})
    """
    # One without its parameters is made of their defaults, unless some have none.
    whole = not any(field.is_required() for field in kind.model_fields.values())
    one = kind() if whole else None
    return {
        "kind": kind.kind,
        "title": kind.title,
        "summary": (inspect.getdoc(kind) or kind.title).partition("\n")[0],
        "source": kind.source,
        "version": kind.version,
        "scope": kind.scope,
        "halo_px": one.halo(SHOWN_SIZE) if one and kind.scope == "halo" else None,
        "needs": sorted(kind.needs),
        "same_on_every_cpu": kind.exact,
        "parameters": parameters(kind),
        "sums": [
            {"name": field.name, "meaning": field.meaning, "dims": list(field.dims), "unit": field.unit}
            for field in (one.fields(1) if one else ())
        ],
        "metrics": [{**metric.document(), "averages": list(metric.averages)} for metric in kind.metrics],
    }


def parameters(kind: type[Statistic]) -> dict[str, dict[str, Any]]:
    """The parameters of a kind -> default (none where one must be given), and what is expected in words."""
    properties: Mapping[str, Any] = kind.model_json_schema()["properties"]
    return {
        name: {
            **({} if field.is_required() else {"default": field.get_default(call_default_factory=True)}),
            "expected": _expected(properties[name]),
        }
        for name, field in kind.model_fields.items()
        if not field.exclude
    }


def _expected(schema: Mapping[str, Any]) -> str:
    """A JSON schema of one value in words.

    >>> _expected({"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 1}, {"type": "null"}]})
    'number > 0 and <= 1, or none'
    """
    if "anyOf" in schema:
        return ", or ".join(map(_expected, schema["anyOf"]))
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    bounds = " and ".join(f"{sign} {schema[word]:g}" for word, sign in COMPARED.items() if word in schema)
    return f"{schema.get('type', 'any value')} {bounds}".strip().replace("null", "none")


def needed(kind: type[Statistic]) -> str:
    """What must be there and be read for a kind, in words.

    >>> from segpipe.statistics.base import STATISTICS
    >>> needed(STATISTICS["soft_overlap"]), needed(STATISTICS["components"])
    ('logits, probabilities or binary scores', 'whole images')
    """
    words = {
        "scores": "logits, probabilities or binary scores",
        "other": "a second prediction (other_pred)",
        "halo": "the pixels around",
        "image": "whole images",
    }
    return ", ".join(words[one] for one in (*sorted(kind.needs), kind.scope) if one in words)
