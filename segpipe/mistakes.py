"""The words for what pydantic finds wrong: the key, what was found, what was expected."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from segpipe.values import FOLDER_NAME

EXPECTED = {
    "model_type": "input should be keys and values",
    "dict_type": "input should be keys and values",
    "tuple_type": "input should be a list",
    FOLDER_NAME: "input should begin with a letter or digit and hold only these and . _ + -",
}
"""Our words where those of pydantic are about Python, or show a pattern that everyone meets."""

MAX_SHOWN = 200
"""Longer values are not repeated in a message."""


def mistakes(error: ValidationError, model: type[BaseModel], part: str = "") -> list[str]:
    """All findings of pydantic in our words.

    Args:
        error: what checking the model raised.
        model: what was checked; its keys are proposed in place of unknown ones.
        part: the key under which the model stands, if it is a part that is checked by itself.

    >>> class Box(BaseModel, extra="forbid"):
    ...     height: int
    >>> try:
    ...     Box.model_validate({"heigt": 2})
    ... except ValidationError as error:
    ...     mistakes(error, Box, "boxes.0")
    ['boxes.0.height: is missing', 'boxes.0.heigt: no such key; did you mean height?']
    """
    return [_mistake(dict(item), model, part) for item in error.errors(include_url=False)]


def _mistake(item: dict[str, Any], model: type[BaseModel], part: str) -> str:
    """One finding of pydantic in our words."""
    key = ".".join([part] * bool(part) + [str(step) for step in item["loc"]]) or "config"
    if item["type"] == "missing":
        return f"{key}: is missing"
    if item["type"] == "extra_forbidden":
        known = _known_keys(item["loc"], model)
        near = get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}" if known else ""
        return f"{key}: no such key{hint}"
    kind = item.get("ctx", {}).get("pattern", item["type"])
    text = EXPECTED.get(kind, item["msg"]).removeprefix("Value error, ").removeprefix(f"{key}: ")
    found = item.get("input")
    simple = isinstance(found, (str, int, float, bool, type(None))) and len(str(found)) <= MAX_SHOWN
    # An address may hold a password or a signature, or be a secret itself: then the message must not.
    secret = "://" in str(found) or bool(set("@?") & set(str(found)))
    shown = f" (found {found!r})" if simple and not secret else ""
    where = "" if not part and not item["loc"] and item["type"] == "value_error" else f"{key}: "
    return f"{where}{text[:1].lower()}{text[1:]}{shown}"


def _known_keys(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """The keys that may stand where an unknown one was found."""
    here = [model]
    for step in location[:-1]:
        fields = [field for one in here for key, field in _fields(one) if key == step]
        # A step that is no field is a place in a list, a key of a mapping, or one way to read a value.
        here = [inner for field in fields for inner in _models(field.annotation)] if fields else here
    return [key for one in here for key, _ in _fields(one)]


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """The fields by the keys that users write."""
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type holds, as `tuple[Model, ...] | None` does."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
