"""Addresses with {model} and {date} in them: which stores there are, and where one would lie."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from segpipe.errors import ConfigError, InputError, Problem
from segpipe.sources.storage import NamingStorage, open_storage
from segpipe.values import FOLDER_NAME

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
DEFAULT_FORMAT = "%Y-%m-%d"
DATE_PARTS = {"%Y": ("year", r"\d{4}"), "%m": ("month", r"\d{2}"), "%d": ("day", r"\d{2}")}
MODEL = FOLDER_NAME.strip("^$")


@dataclass(frozen=True)
class FoundStore:
    """A store that a pattern found; what the pattern does not name is None."""

    store: str
    model: str | None
    day: date | None


@dataclass(frozen=True)
class Pattern:
    """An address of a store, or of an object in it, in which {model} and {date} stand for any.

    `{date}` is 2026-11-20; `{date:%Y%m%d}` is 20261120, and may be given in parts, {date:%Y}/{date:%m-%d}.

    Raises:
        ConfigError: another placeholder, or a date without year, month or day.
    """

    text: str

    def __post_init__(self) -> None:
        parts = {part for code in self._codes() for part in re.findall(r"%.", code)}
        known = set(DATE_PARTS) | {"model"}
        names = {name for name in self.names if name not in known}
        if names or "{" in PLACEHOLDER.sub("", self.text) or "}" in PLACEHOLDER.sub("", self.text):
            shown = f"{{{sorted(names)[0]}}}" if names else "a lone brace"
            message = f"{self.text!r}: found {shown}; known are {{model}}, {{date}} and {{date:%Y%m%d}}"
            raise ConfigError(message)
        if parts and parts != set(DATE_PARTS):
            found = ", ".join(sorted(parts))
            message = f"{self.text!r}: a date needs its year, month and day, %Y, %m and %d; found {found}"
            raise ConfigError(message)

    @property
    def names(self) -> set[str]:
        """What stands in braces; of dates their parts."""
        found = set()
        for inner in PLACEHOLDER.findall(self.text):
            code = _format(inner)
            found |= {inner} if code is None else set(re.findall(r"%.", code)) or {inner}
        return found

    @property
    def has_model(self) -> bool:
        """Whether it names a model."""
        return "model" in self.names

    @property
    def has_date(self) -> bool:
        """Whether it names a day."""
        return bool(self._codes())

    def _codes(self) -> list[str]:
        return [code for inner in PLACEHOLDER.findall(self.text) if (code := _format(inner))]

    def fill(self, model: str | None, day: date | None) -> str:
        """The address of one model and day."""

        def word(match: re.Match[str]) -> str:
            code = _format(match[1])
            if code is None:
                return model if model is not None else match[0]
            return day.strftime(code) if day is not None else match[0]

        return PLACEHOLDER.sub(word, self.text)

    def find(self) -> list[FoundStore]:
        """The stores that there are, by day and model; only folders that can match are listed.

        Raises:
            InputError: the folder above the first placeholder is missing or cannot be listed.
        """
        if not PLACEHOLDER.search(self.text):
            return [FoundStore(self.text, None, None)]
        found = [one for path in self._paths("", self._levels) if (one := self._found(path))]
        return sorted(found, key=lambda one: (one.day or date.min, one.model or "", one.store))

    @cached_property
    def _place(self) -> tuple[str, str, str]:
        """The folder above the first placeholder, the rest of the path, what follows the question mark."""
        path, mark, options = self.text.partition("?") if "://" in self.text else (self.text, "", "")
        fixed, _, _ = path.partition("{")
        base, slash, _ = fixed.rpartition("/")
        rest = path[len(base) + len(slash) :].rstrip("/")
        return base or ("/" if slash else "."), rest, mark + options

    @property
    def _levels(self) -> list[str]:
        return self._place[1].split("/")

    @cached_property
    def _storage(self) -> NamingStorage:
        base, _, options = self._place
        storage = open_storage(base + options)
        if not isinstance(storage, NamingStorage):
            found = "a place that cannot be listed"
            advice = "look for stores in a folder of this machine or in S3"
            raise InputError(Problem(kind="store", found=found, store=storage.url, advice=advice))
        return storage

    def _paths(self, above: str, levels: list[str]) -> Iterator[str]:
        """The paths below the base whose names fit the pattern level by level."""
        level, *below = levels
        fits = re.compile(_regex(level, set()))
        for name in self._storage.names_in(above):
            if fits.fullmatch(name):
                path = f"{above}/{name}" if above else name
                yield from self._paths(path, below) if below else iter([path])

    def _found(self, path: str) -> FoundStore | None:
        match = re.fullmatch(
            _regex(self._place[1], {"model", *(name for name, _ in DATE_PARTS.values())}), path
        )
        if match is None:
            return None
        parts = match.groupdict()
        try:
            day = date(*(int(parts[name]) for name in ("year", "month", "day"))) if self.has_date else None
        except ValueError:
            return None
        base, _, options = self._place
        where = path if base == "." else f"{base.rstrip('/')}/{path}"
        return FoundStore(where + options, parts.get("model"), day)


def _format(inner: str) -> str | None:
    """The format of a date that stands in braces; None: it is no date."""
    name, colon, code = inner.partition(":")
    return (code if colon else DEFAULT_FORMAT) if name == "date" else None


def _regex(text: str, named: set[str]) -> str:
    """A regular expression for a text with placeholders; what is in `named` must be the same each time."""
    seen: set[str] = set()

    def group(name: str, pattern: str) -> str:
        if name not in named:
            return f"(?:{pattern})"
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>{pattern})"

    made, start = "", 0
    for match in PLACEHOLDER.finditer(text):
        made += re.escape(text[start : match.start()])
        code, start = _format(match[1]), match.end()
        if code is None:
            made += group("model", MODEL)
            continue
        for part in re.split(r"(%.)", code):
            made += group(*DATE_PARTS[part]) if part in DATE_PARTS else re.escape(part)
    return made + re.escape(text[start:])
