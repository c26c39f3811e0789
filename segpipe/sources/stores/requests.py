"""Requests to a service: tried again where that can help, never for ever, and explained when they fail."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from threading import BoundedSemaphore
from typing import Any, TypeVar

from segpipe.errors import ConfigError, InfrastructureError, InputError, Problem

T = TypeVar("T")

TIMEOUT_SETTING = "SEGPIPE_STORE_TIMEOUT"
"""Environment variable: for how many seconds a request that fails is tried again."""

DEFAULT_TIMEOUT_S = 60.0
STALLED = 4
"""An attempt in which nothing arrives is given up after this part of the time: then others can follow."""

TRICKLING = 10
"""An attempt in which bytes keep arriving may take this many times as long."""

FIRST_WAIT_S, MAX_WAIT_S = 0.1, 5.0
"""The wait before the second attempt; it doubles up to the maximum, less a random part of up to a half."""

IN_FLIGHT = BoundedSemaphore(32)
"""Requests of this process that are under way at the same time, whatever the number of its threads."""

PASSING_STATUS = {408, 425, 429}
"""Status codes below 500 after which the same request may succeed later: time-outs and too many requests."""

NO_CREDENTIALS = re.compile(r"Error performing PUT |/latest/meta-data/iam/")
"""Errors of the service that gives a machine in the cloud its role; it is asked when nothing else is set.

Of a store nothing is asked by PUT.
"""


class NoSuchObjectError(Exception):
    """The service answers, and has no such object."""


class RangeError(Exception):
    """The service answers that the object ends before the bytes that were asked for."""


class WholeOnlyError(Exception):
    """The service sends a whole object where a part was asked for."""


@dataclass(frozen=True)
class Failure:
    """What went wrong with an attempt.

    `passing`: the same request may succeed later. `found` and `advice` are for people, without secrets.
    """

    passing: bool
    found: str
    advice: str = ""


def patience_s() -> float:
    """For how many seconds a request that fails is tried again.

    Raises:
        ConfigError: the environment says something that is no number of seconds.
    """
    text = os.environ.get(TIMEOUT_SETTING, "")
    try:
        seconds = float(text or DEFAULT_TIMEOUT_S)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        message = f"{TIMEOUT_SETTING}: found {text!r}, expected a number of seconds above 0, such as 60"
        raise ConfigError(message)
    return seconds


def client_options(patience: float, *, allow_http: bool) -> Any:
    """Time-outs of one attempt, as obstore takes them."""
    stalled = timedelta(seconds=patience / STALLED)
    return {
        "allow_http": allow_http,
        "connect_timeout": stalled,
        "read_timeout": stalled,
        "timeout": timedelta(seconds=patience * TRICKLING),
    }


class Requests:
    """Sends the requests of one store.

    Args:
        url: the store, for messages.
        patience: seconds after the first failure within which a request is tried again.
        access_advice: what to do when access is refused.
    """

    def __init__(self, url: str, patience: float, access_advice: str) -> None:
        self._url, self._patience, self._access_advice = url, patience, access_advice

    def send(self, attempt: Callable[[], T], key: str = "") -> T:
        """Do a request until it succeeds, cannot succeed, or has taken too long.

        Args:
            attempt: one request of obstore.
            key: the object that it is about, for messages.

        Raises:
            NoSuchObjectError, RangeError, WholeOnlyError: these are answers, not failures.
            InputError: it cannot succeed: no access, no such bucket, a request that is refused.
            InfrastructureError: the service cannot be reached, or fails all the time.
        """
        begun, wait = time.monotonic(), FIRST_WAIT_S
        tries = 0
        while True:
            tries += 1
            try:
                with IN_FLIGHT:
                    return attempt()
            except Exception as error:
                failure = self._failure(error)
            if not failure.passing:
                raise InputError(self._problem(failure, key))
            pause = wait * random.uniform(0.5, 1.0)
            if time.monotonic() + pause - begun > self._patience:
                raise InfrastructureError(self._given_up(failure, key, tries, time.monotonic() - begun))
            time.sleep(pause)
            wait = min(2 * wait, MAX_WAIT_S)

    def _failure(self, error: Exception) -> Failure:
        """What an error of obstore means; answers are raised."""
        text = str(error)
        status = _status(text)
        code = _code(text)
        if code == "NoSuchBucket":
            advice = "look at the name of the bucket, and at the endpoint (AWS_ENDPOINT_URL) it should be at"
            return Failure(False, "no such bucket", advice)
        if isinstance(error, FileNotFoundError):
            raise NoSuchObjectError from None
        if status == 416:
            raise RangeError from None
        if "non-partial response" in text or "Range request not supported" in text:
            raise WholeOnlyError from None
        if NO_CREDENTIALS.search(text.partition("\n")[0]):
            return Failure(False, "no credentials", self._access_advice)
        if isinstance(error, OSError):
            return Failure(True, f"an answer that was cut short ({error.strerror or error})")
        if status:
            return self._of_status(status, f"status {status}{f' {code}' if code else ''}")
        return self._without_status(text)

    def _of_status(self, status: int, words: str) -> Failure:
        if status in (401, 403):
            return Failure(False, f"the service refuses access ({words})", self._access_advice)
        if status >= 500 or status in PASSING_STATUS:
            return Failure(True, f"the service fails ({words})")
        return Failure(False, f"the service refuses the request ({words})", "look at the store's address")

    def _without_status(self, text: str) -> Failure:
        if "incorrectly configured region" in text:
            return Failure(
                False, "a bucket that lies in another region", "set AWS_REGION to the region of it"
            )
        if "invalid path" in text:
            advice = "rename the objects: names are joined by single slashes, without . and .. in between"
            return Failure(False, f"an object whose name cannot be used: {_first_line(text)}", advice)
        kind = re.search(r"\bkind: (Connect|Timeout|Builder)\b", text)
        if kind and kind[1] == "Builder":
            return Failure(
                False, "an address that cannot be asked", "look at the store's address and endpoint"
            )
        if "HTTP error" in text:
            words = {
                "Connect": "no connection to the service",
                "Timeout": "no answer from the service in time",
            }
            return Failure(True, words.get(kind[1] if kind else "", "a connection that broke off"))
        return Failure(False, f"an answer that cannot be used: {_first_line(text)}")

    def _problem(self, failure: Failure, key: str) -> Problem:
        return Problem(kind="store", found=failure.found, store=self._url, chunk=key, advice=failure.advice)

    def _given_up(self, failure: Failure, key: str, tries: int, seconds: float) -> str:
        where = f"{self._url}{f', {key}' if key else ''}"
        return (
            f"{where}: found {failure.found}, {tries} times in {seconds:.0f} s\n"
            "What to do: see whether the service can be reached from here, then run the same command again; "
            f"{TIMEOUT_SETTING} sets for how many seconds it is tried (now {self._patience:g})"
        )


def _status(text: str) -> int:
    found = re.search(r"status code: (\d{3})\b", text)
    return int(found[1]) if found else 0


def _code(text: str) -> str:
    """The word by which S3 names an error."""
    found = re.search(r"<Code>([A-Za-z0-9]{1,40})</Code>", text)
    return found[1] if found else ""


def _first_line(text: str) -> str:
    """The first line of an error, without addresses: those may hold a password."""
    return re.sub(r"[a-z][a-z0-9+.-]*://\S+", "...", text.split("\n")[0])[:200]
