"""Reading YAML that nobody vouches for: by the safe loader, up to a size and a depth, no key twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from segpipe.errors import ConfigError

MAX_CONFIG_BYTES = 16 << 20

MAX_DEPTH = 64
"""Levels of lists and mappings."""

MAX_ALIASED = 1 << 16
"""Values that all aliases of a text stand for together."""


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, by the safe loader."""
    try:
        # What is no file (a pipe is as good) tells no size.
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            message = f"{path}: more than {MAX_CONFIG_BYTES} bytes is no configuration"
            raise ConfigError(message)
        return parse_yaml(data.decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        message = f"{path}: cannot be read ({reason}); name an existing YAML file"
        raise ConfigError(message) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # PyYAML lets the errors of Python through for impossible dates and for numbers of 5000 digits.
        message = f"{path}: is no YAML: {error}"
        raise ConfigError(message) from None


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, the compiled one where PyYAML has it; of a key that is there twice none is dropped."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            # Not as they are written: 0 and 0x0 are one key.
            value = self.construct_object(key)
            if value in seen:
                message = f"the key {value!r} is given twice"
                raise _refused(message, node)
            seen.add(value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def parse_yaml(text: str) -> Any:
    """The content of a YAML text, by the safe loader.

    Raises:
        yaml.YAMLError: it is no YAML, is too deep, or grows by its aliases.
        ValueError: an impossible date or number.
    """
    _check_growth(text)
    return yaml.load(text, Loader=_Loader)


def _check_growth(text: str) -> None:
    """Refuse what a few bytes make large: the loader calls itself at every level, and aliases multiply."""
    sizes: dict[str | None, int] = {}
    # For each level that is open: its anchor, and how many values it holds, those of aliases too.
    levels: list[tuple[str | None, int]] = [(None, 0)]
    added = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            levels.append((event.anchor, 0))
            if len(levels) > MAX_DEPTH:
                message = f"more than {MAX_DEPTH} levels deep"
                raise _refused(message, event)
            continue
        anchor, size = None, 1
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in (name for name, _ in levels):
                message = f"*{event.anchor} holds itself"
                raise _refused(message, event)
            size = sizes.get(event.anchor, 1)
            added += size
            if added > MAX_ALIASED:
                message = f"aliases stand for more than {MAX_ALIASED:,} values"
                raise _refused(message, event)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, inside = levels.pop()
            size += inside
        elif isinstance(event, yaml.ScalarEvent):
            anchor = event.anchor
        else:
            continue
        sizes[anchor] = size
        levels[-1] = (levels[-1][0], levels[-1][1] + size)


def _refused(message: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=where.start_mark)
