"""Classes by name, and the rules that turn a raw label value into a code."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from segpipe.errors import ConfigError

MAX_CLASSES = 65_533
"""Codes are 16 bits wide, and two of them are taken (ignored, invalid)."""


@dataclass(frozen=True)
class ClassGroup:
    """Classes that are also scored as one: the name of the group, and the ids of its classes."""

    name: str
    members: tuple[int, ...]


@dataclass(frozen=True)
class ClassList:
    """The classes in the order of their ids 0..K-1.

    Attributes:
        names: of the classes.
        colors: (red, green, blue), 0..255, or None, of each class.
        groups: classes that are scored together as well; a class may be in many groups, or in none.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int] | None, ...] = ()
    groups: tuple[ClassGroup, ...] = ()

    def __post_init__(self) -> None:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if not 1 <= len(self.names) <= MAX_CLASSES:
            message = f"classes: found {len(self.names)}, expected 1 to {MAX_CLASSES}"
            raise ConfigError(message)
        if twice:
            message = f"classes: the name {twice[0]!r} is given more than once"
            raise ConfigError(message)
        if not self.colors:
            object.__setattr__(self, "colors", (None,) * len(self.names))
        if len(self.colors) != len(self.names):
            message = f"classes: {len(self.names)} names and {len(self.colors)} colours"
            raise ConfigError(message)
        for group in self.groups:
            if not group.members or not set(group.members) <= set(range(len(self.names))):
                message = f"groups: {group.name!r} has the classes {list(group.members)}; name one or more"
                raise ConfigError(message)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def groups_overlap(self) -> bool:
        """Whether a class is in more than one group."""
        members = [class_id for group in self.groups for class_id in group.members]
        return len(set(members)) < len(members)

    @classmethod
    def numbered(cls, num_classes: int) -> ClassList:
        """Classes that have no names: class_0, class_1, ...

        >>> ClassList.numbered(2).names
        ('class_0', 'class_1')
        """
        return cls(tuple(f"class_{index}" for index in range(num_classes)))


def class_id(name: int | str, names: Sequence[str], key: str) -> int:
    """The id of a class given by id or by name (of `key`, which a mistake names).

    Raises:
        ConfigError: there is no such class.

    >>> class_id("car", ("road", "car"), "exclude_classes")
    1
    """
    if isinstance(name, int) and 0 <= name < len(names):
        return name
    if isinstance(name, str) and name in names:
        return names.index(name)
    near = get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    message = f"{key}: no class {name!r} among the {len(names)} classes{hint}"
    raise ConfigError(message)


@dataclass(frozen=True)
class LabelRules:
    """Raw label value -> code, for one side (truth or pred).

    Codes: 0..K-1 are the classes, K is *ignored* (truth) or *void* (pred), K+1 is *invalid*: any value
    that no rule names. All values are mapped at once, so a remap never chains.

    >>> rules = LabelRules.of(num_classes=2, no_class=[255])
    >>> rules.code(1), rules.code(255), rules.code(7)
    (1, 2, 3)
    """

    num_classes: int
    codes: Mapping[int, int]

    @classmethod
    def of(
        cls, num_classes: int, *, remap: Mapping[int, int] | None = None, no_class: Iterable[int] = ()
    ) -> LabelRules:
        """Rules from settings.

        Args:
            num_classes: K.
            remap: raw value -> class id; None means that values are class ids already.
            no_class: raw values that name no class (`ignore_labels` of truth, `void_labels` of pred).

        Raises:
            ConfigError: a class id is out of range, or a value is both a class and no class.
        """
        if not 1 <= num_classes <= MAX_CLASSES:
            message = f"num_classes: found {num_classes}, expected 1 to {MAX_CLASSES}"
            raise ConfigError(message)
        codes = {value: value for value in range(num_classes)} if remap is None else dict(remap)
        for value, class_id in codes.items():
            if not 0 <= class_id < num_classes:
                message = f"remap: {value} -> {class_id}, but classes are 0..{num_classes - 1}"
                raise ConfigError(message)
        for value in no_class:
            if remap is not None and value in remap:
                message = f"label {value} is remapped to class {remap[value]} and declared to be no class"
                raise ConfigError(message)
            codes[value] = num_classes
        return cls(num_classes, codes)

    @property
    def num_codes(self) -> int:
        """K + 2, the side of the extended confusion matrix."""
        return self.num_classes + 2

    @property
    def no_class(self) -> int:
        """The code of ignored truth and void predictions, K."""
        return self.num_classes

    @property
    def invalid(self) -> int:
        """The code of every value that no rule names, K + 1."""
        return self.num_classes + 1

    def code(self, value: int) -> int:
        """The code of one raw value."""
        return self.codes.get(value, self.invalid)

    @cached_property
    def identity(self) -> list[list[int]]:
        """The sorted pairs (value, code): what a key of partial counts is made from."""
        return [[value, code] for value, code in sorted(self.codes.items())]

    def __hash__(self) -> int:
        return hash((self.num_classes, tuple(map(tuple, self.identity))))


def rules_of_sides(
    num_classes: int,
    *,
    ignore_labels: Iterable[int] = (),
    void_labels: Iterable[int] = (),
    remap: Mapping[int, int] | None = None,
) -> tuple[LabelRules, LabelRules]:
    """The rules of truth and of pred from settings that were handed over in Python, which may be anything.

    Raises:
        ConfigError: a setting that is no whole number, list of these or mapping; see `LabelRules.of`.

    >>> [rules.code(255) for rules in rules_of_sides(2, ignore_labels=[255])]
    [2, 3]
    """
    own, number = _mapping(remap), _whole(num_classes, "num_classes")
    ignored, void = _labels(ignore_labels, "ignore_labels"), _labels(void_labels, "void_labels")
    return LabelRules.of(number, remap=own, no_class=ignored), LabelRules.of(number, remap=own, no_class=void)


def _mapping(remap: Any) -> dict[int, int] | None:
    if remap is None:
        return None
    if not isinstance(remap, Mapping):
        message = f"remap: found {remap!r:.80}, expected a mapping such as {{7: 0}}, from labels to class ids"
        raise ConfigError(message)
    return {_whole(raw, "remap"): _whole(name, "remap") for raw, name in remap.items()}


def _labels(values: Any, key: str) -> tuple[int, ...]:
    """Several labels; one number alone is none of the ways to say them, as in a configuration."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        message = f"{key}: found {values!r:.80}, expected a list of labels such as [255]"
        raise ConfigError(message)
    return tuple(_whole(value, key) for value in values)


def _whole(value: Any, key: str) -> int:
    """A whole number of Python or NumPy; a truth value is none."""
    number: Any = None if isinstance(value, bool) else value
    try:
        return operator.index(number)
    except TypeError:
        message = f"{key}: found {value!r:.80}, expected whole numbers"
        raise ConfigError(message) from None
