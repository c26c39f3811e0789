"""Profiles of the AWS files: ~/.aws/credentials and ~/.aws/config."""

from __future__ import annotations

import os
from configparser import ConfigParser
from configparser import Error as ParseError
from pathlib import Path

from segpipe.errors import ConfigError

FILES = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}
SETTINGS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}
"""Name in the files -> name that obstore gives it."""


def read_profile(name: str) -> dict[str, str]:
    """Keys, region and endpoint of a profile, by the names that obstore gives them.

    Raises:
        ConfigError: there is no such profile, it holds no keys, or a file cannot be read.
    """
    found: dict[str, str] = {}
    for variable, usual in FILES.items():
        path = Path(os.environ.get(variable) or usual).expanduser()
        section = name if variable != "AWS_CONFIG_FILE" or name == "default" else f"profile {name}"
        found = _section(path, section) | found
    settings = {ours: found[theirs] for theirs, ours in SETTINGS.items() if theirs in found}
    if "access_key_id" in settings and "secret_access_key" in settings:
        return settings
    what = "a profile without keys" if found else "no such profile"
    message = (
        f"AWS profile {name!r}: found {what}, expected aws_access_key_id and aws_secret_access_key in "
        f"{' or '.join(FILES.values())}. Profiles that log in or take over a role: "
        f'eval "$(aws configure export-credentials --profile {name} --format env)" sets the environment'
    )
    raise ConfigError(message)


def _section(path: Path, section: str) -> dict[str, str]:
    # Values may hold %, which is no interpolation here.
    parser = ConfigParser(interpolation=None, default_section="\0none")
    try:
        if path.is_file():
            parser.read_string(path.read_text(encoding="utf-8"))
        return dict(parser[section]) if section in parser else {}
    except (OSError, UnicodeDecodeError, ParseError) as error:
        # The text of the error repeats lines, which hold secrets.
        message = f"{path}: is no AWS file that can be read ({type(error).__name__})"
        raise ConfigError(message) from None
