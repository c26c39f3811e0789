"""Tell people that something is wrong, by a webhook. Its address is a secret: only its name is configured."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from pydantic import Field

from segpipe.reports.text import finite
from segpipe.values import Frozen

TIMEOUT_S = 10.0
PAUSES_S = (1.0, 5.0)
"""Waits before the second and the third attempt."""

MAX_TEXT = 3000
"""Letters of a message: chat services refuse long ones."""


class NotifyConfig(Frozen):
    """Who is told.

    Attributes:
        webhook: the name of an environment variable that holds the address to which a JSON document is sent,
            {"text": words, "segpipe": figures}; Slack, Mattermost, Teams and the like show the text.
        blocks: notification blocks of Prefect, such as slack-webhook/team; flows use them.
    """

    webhook: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    blocks: tuple[str, ...] = ()


def notify(config: NotifyConfig, text: str, figures: Mapping[str, Any]) -> str:
    """Send a message, three times if need be.

    Returns:
        Why it could not be sent, in words that do not repeat the address; empty: it was sent, or nobody is
        to be told. That nobody could be told is no reason to fail.
    """
    if config.webhook is None:
        return ""
    address = os.environ.get(config.webhook, "")
    if not address.startswith(("https://", "http://")):
        return f"webhook: the environment variable {config.webhook} holds no http(s) address"
    document = {"text": shortened_text(text), "segpipe": finite(dict(figures))}
    body = json.dumps(document, allow_nan=False).encode()
    why = ""
    for pause in (0.0, *PAUSES_S):
        time.sleep(pause)
        why = _post(address, body)
        if not why:
            return ""
    return f"webhook ({config.webhook}): {why}"


def shortened_text(text: str, limit: int = MAX_TEXT) -> str:
    """A text that chat services take.

    >>> shortened_text("abcdefgh", 5)
    'ab...'
    """
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A message is not sent on to an address that nobody configured."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse."""


def _post(address: str, body: bytes) -> str:
    """Why a message could not be sent; empty: it was."""
    headers = {"Content-Type": "application/json", "User-Agent": "segpipe"}
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        request = urllib.request.Request(address, body, headers, method="POST")
        with opener.open(request, timeout=TIMEOUT_S):
            return ""
    except HTTPError as error:
        error.close()
        return f"the service answers with status {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        return f"it cannot be reached ({type(error).__name__})"
