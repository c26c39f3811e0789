"""Stores in S3 and services that speak like it: `s3://bucket/prefix`.

Credentials, region and endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL, or the role of a machine in the cloud), or from a profile of
the AWS files: `?profile=NAME`, or AWS_PROFILE. `?anonymous=true` signs no request. No address holds a secret.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode

from segpipe.errors import ConfigError
from segpipe.sources.storage import STORES, ObjectInfo
from segpipe.sources.stores.profiles import read_profile
from segpipe.sources.stores.remote import RemoteStorage, info_of, load_obstore
from segpipe.sources.stores.requests import Requests, client_options, patience_s

PAGE = 1000
"""Objects in one answer to a listing; S3 gives no more."""

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

ACCESS_ADVICE = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile (AWS_PROFILE, or ?profile=NAME after "
    "the address), that may list the bucket and read its objects; of a public bucket say ?anonymous=true"
)


class S3Storage(RemoteStorage):
    """A prefix of a bucket. The tag of an object is its ETag."""

    def list(self, prefix: str = "") -> dict[str, ObjectInfo]:
        """See `Storage.list`; 1000 objects a request."""
        folder = "/".join(part for part in (self._folder, prefix.strip("/")) if part)
        root = f"{self._folder}/" if self._folder else ""
        return self._reliable(
            {
                meta["path"].removeprefix(root): info_of(meta)
                for page in self._pages(folder)
                for meta in page
                if meta["path"].startswith(root)
            }
        )

    def names_in(self, folder: str) -> Sequence[str]:
        """See `NamingStorage.names_in`."""
        path = "/".join(part for part in (self._folder, folder.strip("/")) if part)
        found = self._requests.send(
            lambda: self._obstore.list_with_delimiter(self._store, f"{path}/" if path else None)
        )
        paths = [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]
        return sorted({each.rstrip("/").rpartition("/")[2] for each in paths})

    def _pages(self, folder: str) -> Iterator[Sequence[Any]]:
        """The pages of a listing; after a failure it goes on behind the last object that arrived."""
        pages: Iterator[Sequence[Any]] | None = None
        last: str | None = None

        def following() -> Sequence[Any]:
            nonlocal pages
            if pages is None:
                pages = iter(self._obstore.list(self._store, folder or None, offset=last, chunk_size=PAGE))
            try:
                return next(pages, [])
            except Exception:
                pages = None
                raise

        while page := self._requests.send(following):
            yield page
            last = page[-1]["path"]


@STORES.register("s3")
def open_s3(url: str) -> S3Storage:
    """`s3://bucket/prefix`, with `?profile=NAME` or `?anonymous=true`.

    Raises:
        ConfigError: the address, a profile or a setting of the environment cannot be used.
    """
    place, _, query = url.removeprefix("s3://").partition("?")
    bucket, _, folder = place.partition("/")
    folder = folder.strip("/")
    options = _options(query)
    if not bucket or any(part in ("", ".", "..") for part in (folder or "x").split("/")):
        message = f"s3://{place}: expected s3://bucket/prefix, with names joined by single slashes"
        raise ConfigError(message)
    shown = f"s3://{bucket}{f'/{folder}' if folder else ''}{f'?{urlencode(options)}' if options else ''}"
    load_obstore(shown)
    patience = patience_s()
    store = _s3_store(shown, bucket, options, patience)
    return S3Storage(shown, store, folder, Requests(shown, patience, ACCESS_ADVICE))


def _options(query: str) -> dict[str, str]:
    """What an address says behind the question mark; nothing of what is refused is repeated."""
    options = dict(parse_qsl(query, keep_blank_values=True))
    profile, anonymous = options.get("profile"), options.get("anonymous")
    known = len(options) <= 1 and (bool(profile) or anonymous == "true")
    if query and not known:
        message = "s3://: an address may end with ?profile=NAME or ?anonymous=true, and nothing else"
        raise ConfigError(message)
    return options


def _s3_store(url: str, bucket: str, options: dict[str, str], patience: float) -> Any:
    from obstore.store import S3Store

    settings: dict[str, Any] = {}
    profile = options.get("profile")
    if profile is None and not any(os.environ.get(name) for name in KEYS):
        profile = os.environ.get("AWS_PROFILE")
    if "anonymous" in options:
        settings["skip_signature"] = True
    elif profile:
        found = read_profile(profile)
        # Given by a function they replace those of the environment, of which a token must not be mixed in.
        settings["credential_provider"] = partial(_credentials, found)
        settings |= {name: found[name] for name in ("region", "endpoint") if name in found}
    endpoint = settings.get("endpoint") or next(filter(None, map(os.environ.get, ENDPOINTS)), None)
    if endpoint:
        settings["endpoint"] = endpoint
    clear = client_options(patience, allow_http=bool(endpoint) and str(endpoint).startswith("http://"))
    try:
        return S3Store(bucket, client_options=clear, retry_config={"max_retries": 0}, **settings)
    except Exception as error:
        # The text of the error may repeat a setting.
        message = (
            f"{url}: the AWS settings cannot be used ({type(error).__name__}); look at AWS_* and profiles"
        )
        raise ConfigError(message) from None


def _credentials(profile: dict[str, str]) -> dict[str, str | None]:
    return {
        "access_key_id": profile["access_key_id"],
        "secret_access_key": profile["secret_access_key"],
        "token": profile.get("session_token"),
        "expires_at": None,
    }
