"""Stores behind a web server: `http://host/folder` and `https://host/folder`, which cannot be listed."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

from segpipe.errors import ConfigError, InputError, Problem
from segpipe.sources.storage import STORES, ObjectInfo, is_young
from segpipe.sources.stores.remote import UNKNOWN_NS, RemoteStorage, info_of, load_obstore
from segpipe.sources.stores.requests import NoSuchObjectError, Requests, client_options, patience_s

ASKING_THREADS = 16
"""How many objects are asked for at once."""

ACCESS_ADVICE = (
    "look at the address; a store that needs a password or token can be mounted or copied, and S3 takes "
    "credentials from the environment"
)


class HttpStorage(RemoteStorage):
    """A folder of a web server. The tag of an object is its ETag, or else the time of its last change.

    Such a tag tells the versions of one address apart, nothing else (RFC 9110, 8.8.3): many servers make it
    of time and size, which chunks of two models may have in common. So the address is part of it.
    """

    def list(self, prefix: str = "") -> dict[str, ObjectInfo]:
        """Refused: a web server has no listing; see `ask`.

        Raises:
            InputError: always.
        """
        found, expected = "a web server, which cannot list its objects", "a store that can be listed"
        raise InputError(Problem(kind="store", found=found, expected=expected, store=self.url))

    def ask(self, keys: Iterable[str]) -> dict[str, ObjectInfo]:
        """Which of some objects there are; a bounded number is asked for at a time."""
        wanted = list(dict.fromkeys(keys))
        with ThreadPoolExecutor(ASKING_THREADS) as threads:
            infos = zip(wanted, threads.map(self._info, wanted), strict=True)
            return self._reliable({key: info for key, info in infos if info is not None})

    def _info(self, key: str) -> ObjectInfo | None:
        try:
            return self._head(self._path(key), key)
        except NoSuchObjectError:
            return None

    def _info_of(self, meta: Any) -> ObjectInfo:
        info = info_of(meta)
        address = blake2b(f"{self.url}/{meta['path']}".encode(), digest_size=8).hexdigest()
        return replace(info, tag=f"{address}:{info.tag}") if info.tag else info

    def _reliable(self, found: dict[str, ObjectInfo]) -> dict[str, ObjectInfo]:
        """Tags of web servers are often made of whole seconds: what was just written is hashed."""
        return super()._reliable(
            {
                key: ObjectInfo(info.size, info.tag, UNKNOWN_NS) if is_young(info) else info
                for key, info in found.items()
            }
        )


@STORES.register("http")
@STORES.register("https")
def open_http(url: str) -> HttpStorage:
    """`http://host/folder` or `https://host/folder`.

    Raises:
        ConfigError: the address holds a password or parameters, or no host.
    """
    parts = urlsplit(url)
    if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        # What is refused is not repeated: it may be a password or a token.
        message = f"{parts.scheme}://: expected {parts.scheme}://host/folder without password and parameters"
        raise ConfigError(message)
    shown = url.rstrip("/")
    load_obstore(shown)
    patience = patience_s()
    return HttpStorage(shown, _http_store(shown, patience), "", Requests(shown, patience, ACCESS_ADVICE))


def _http_store(url: str, patience: float) -> Any:
    from obstore.store import HTTPStore

    allow_http = url.startswith("http://")
    try:
        return HTTPStore(
            url,
            client_options=client_options(patience, allow_http=allow_http),
            retry_config={"max_retries": 0},
        )
    except Exception:
        message = f"{url}: is no address of a web server"
        raise ConfigError(message) from None
