"""Reading YAML that nobody vouches for: by the safe loader, up to a size, and no key twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from segpipe.errors import ConfigError

MAX_CONFIG_BYTES = 16 << 20


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
        scalars = (key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<")
        # Not as they are written: 0 and 0x0 are one key.
        keys = [self.construct_object(key) for key in scalars]
        twice = next((key for at, key in enumerate(keys) if key in keys[:at]), None)
        if twice is not None:
            message = f"the key {twice!r} is given twice"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def parse_yaml(text: str) -> Any:
    """The content of a YAML text, by the safe loader."""
    return yaml.load(text, Loader=_Loader)
