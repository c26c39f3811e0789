"""Stores behind services and in archives: S3, web servers, zip; real servers, real faults."""

from __future__ import annotations

import itertools
import os
import pickle
import sys
import time
import traceback
import tracemalloc
import uuid
import warnings
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, ClassVar

import pytest
import zarr
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_examples
from hypothesis import strategies as st

from segpipe.errors import ConfigError, InfrastructureError, InputChangedError, InputError, SegpipeError
from segpipe.sources import storage as storage_module
from segpipe.sources.asked import AskedObjects
from segpipe.sources.metadata import ArrayMeta, view_store
from segpipe.sources.patterns import Pattern
from segpipe.sources.storage import (
    AskingStorage,
    ObjectInfo,
    Storage,
    content_hash,
    content_hashed,
    open_storage,
    read_listed,
)
from segpipe.sources.stores import requests as attempts
from segpipe.sources.stores import s3 as s3_module
from tests.sources.conformance import StorageTests
from tests.sources.servers import (
    BUCKET,
    HUNG_S,
    KEY_ID,
    SECRET,
    Bucket,
    Faulty,
    faulty,
    s3_environment,
    s3_service,
    serving,
    web_folder,
)
from tests.sources.stores import consolidate, flip_bit, label_maps, write, write_group
from tests.sources.test_storage import Folder


@pytest.fixture(scope="module")
def service() -> Iterator[int]:
    with s3_service() as port:
        yield port


@pytest.fixture
def proxy(service: int) -> Iterator[Faulty]:
    with faulty(service) as state:
        yield state


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, service: int, tmp_path: Path) -> pytest.MonkeyPatch:
    """No setting of this machine, and those of the service."""
    for name, value in {
        **s3_environment(service),
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return monkeypatch


@pytest.fixture
def bucket(service: int) -> Bucket:
    """A prefix of its own for each test."""
    return Bucket(service, f"{uuid.uuid4().hex[:8]}/truth.zarr")


@pytest.fixture
def s3(settings: pytest.MonkeyPatch, bucket: Bucket) -> Storage:
    return open_storage(f"s3://{BUCKET}/{bucket.prefix}")


@pytest.fixture
def faulty_s3(settings: pytest.MonkeyPatch, proxy: Faulty, bucket: Bucket) -> Storage:
    """A storage that reaches the service through the proxy, with three objects."""
    settings.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    for key in ("a", "b", "c"):
        bucket.put(key, key.encode() * 1000)
    return open_storage(f"s3://{BUCKET}/{bucket.prefix}")


class TestS3(StorageTests):
    """A prefix of a bucket does what every storage does."""

    @pytest.fixture
    def storage(self, s3: Storage) -> Storage:
        return s3

    @pytest.fixture
    def writer(self, bucket: Bucket) -> Bucket:
        return bucket

    @pytest.mark.parametrize("name", ["sp ace", "ha#sh", "pct%20x", "q?x", "ü", "+&=[x]*~:"])
    def test_any_name_is_listed_and_read(self, storage: Storage, writer: Bucket, name: str) -> None:
        writer.put(f"folder/{name}", b"x")
        assert list(storage.list()) == [f"folder/{name}"]
        blob = storage.get(f"folder/{name}")
        assert blob is not None
        assert blob.data == b"x"

    def test_another_prefix_that_begins_alike_is_another_store(
        self, storage: Storage, writer: Bucket
    ) -> None:
        writer.put("a", b"x")
        Bucket(writer.port, writer.prefix + "2").put("a", b"y")
        assert set(storage.list()) == {"a"}


class TestZip(StorageTests):
    """An archive does what every storage does."""

    @pytest.fixture
    def writer(self, tmp_path: Path) -> Archive:
        return Archive(tmp_path / "a.zarr.zip")

    @pytest.fixture
    def storage(self, writer: Archive) -> Storage:
        return open_storage(str(writer.path))


class TestDeflatedZip(TestZip):
    """So does one whose members are deflated."""

    @pytest.fixture
    def writer(self, tmp_path: Path) -> Archive:
        return Archive(tmp_path / "a.zarr.zip", zipfile.ZIP_DEFLATED)


class Archive:
    """Writes a zip archive anew for every change, as tools do."""

    def __init__(self, path: Path, method: int = zipfile.ZIP_STORED) -> None:
        self.path, self.method = path, method
        self.members: dict[str, bytes] = {}
        self._write()

    def put(self, key: str, data: bytes) -> None:
        self.members[key] = data
        self._write()

    def remove(self, key: str) -> None:
        del self.members[key]
        self._write()

    def _write(self) -> None:
        with zipfile.ZipFile(self.path, "w", self.method) as archive:
            for key, data in self.members.items():
                archive.writestr(key, data)


class Listed:
    """A web server's storage beside a list of its files, for laws that speak of listing."""

    def __init__(self, storage: AskingStorage, root: Path) -> None:
        self._storage, self._root = storage, root
        self.url = storage.url

    def list(self, prefix: str = "") -> dict[str, ObjectInfo]:
        files = [path.relative_to(self._root) for path in self._root.rglob("*") if path.is_file()]
        folder = f"{prefix.strip('/')}/" if prefix else ""
        return self._storage.ask(str(path) for path in files if str(path).startswith(folder))

    def get(self, *where: Any) -> Any:
        return self._storage.get(*where)


class TestWebServer(StorageTests):
    """A folder of a web server does what every storage does, but for listing."""

    headers: ClassVar[dict[str, bool]] = {}

    @pytest.fixture
    def storage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        monkeypatch.setenv("SEGPIPE_STORE_TIMEOUT", "12")
        with serving(web_folder(tmp_path, **self.headers)) as port:
            storage = open_storage(f"http://127.0.0.1:{port}")
            assert isinstance(storage, AskingStorage)
            yield Listed(storage, tmp_path)

    @pytest.fixture
    def writer(self, tmp_path: Path) -> Folder:
        return Folder(tmp_path)

    def test_its_url_opens_the_same_store(self, storage: Any, writer: Folder) -> None:
        writer.put("a", b"x")
        again = open_storage(storage.url)
        assert isinstance(again, AskingStorage)
        assert again.ask(["a", "b"]) == storage.list()

    def test_objects_of_one_size_and_time_are_told_apart(self, storage: Any, writer: Folder) -> None:
        """Web servers make tags of time and size: chunks of two models must not be taken for one another."""
        for key in ("a/c/0", "b/c/0"):
            writer.put(key, key.encode())
            os.utime(writer.root / key, (1_600_000_000, 1_600_000_000))
        in_one_store = [info.fingerprint for info in storage.list().values()]
        stores = [open_storage(f"{storage.url}/{name}") for name in "ab"]
        in_two = [Listed(store, writer.root / store.url[-1]).list()["c/0"].fingerprint for store in stores]
        assert len(set(in_one_store)) == len(set(in_two)) == 2


class TestWebServerWithoutParts(TestWebServer):
    """So does one that sends only whole files, as Python's own does."""

    headers: ClassVar[dict[str, bool]] = {"parts": False}


class TestWebServerWithoutTags(TestWebServer):
    """One that tells neither tag nor time is known by content."""

    headers: ClassVar[dict[str, bool]] = {"etag": False, "modified": False}

    def test_what_is_read_carries_the_info_that_was_listed(self, storage: Any, writer: Folder) -> None:
        writer.put("a/b", b"12345")
        listed = storage.list()["a/b"]
        assert listed.content == content_hash(b"12345")
        assert read_listed(storage, "a/b", listed).data == b"12345"
        writer.put("a/b", b"12346")
        with pytest.raises(InputChangedError, match="it was written again"):
            read_listed(storage, "a/b", listed)


class TestFaults:
    """What passes is tried again, what cannot is explained at once, and nothing takes for ever."""

    @pytest.mark.parametrize("fault", ["503 SlowDown", "500 InternalError", "429", "reset", "cut"])
    def test_a_passing_fault_is_not_noticed(self, faulty_s3: Storage, proxy: Faulty, fault: str) -> None:
        proxy.times(fault, 2, of="/b")
        blob = faulty_s3.get("b")
        assert blob is not None
        assert blob.data == b"b" * 1000
        assert sum(path.endswith("/b") for _, path, _ in proxy.seen) == 3

    def test_a_hang_in_the_middle_is_given_up_and_tried_again(
        self, faulty_s3: Storage, proxy: Faulty, settings: pytest.MonkeyPatch
    ) -> None:
        settings.setenv("SEGPIPE_STORE_TIMEOUT", "6")
        store = open_storage(faulty_s3.url)
        proxy.times("hang", 1, of="/b")
        begun = time.monotonic()
        blob = store.get("b")
        assert blob is not None
        assert blob.data == b"b" * 1000
        assert time.monotonic() - begun < HUNG_S / 2

    def test_a_slow_answer_is_waited_for(self, faulty_s3: Storage, proxy: Faulty) -> None:
        proxy.times("slow", 1)
        blob = faulty_s3.get("a")
        assert blob is not None
        assert blob.data == b"a" * 1000
        assert len(proxy.seen) == 1

    def test_stores_are_found_by_a_pattern_without_listing_what_is_in_them(
        self, settings: pytest.MonkeyPatch, proxy: Faulty, bucket: Bucket
    ) -> None:
        """One request for each folder on the way, tried again after a fault."""
        settings.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        above = f"s3://{BUCKET}/{bucket.prefix}"
        for key in ("2026-11-20/a.zarr/zarr.json", "2026-11-20/b.zarr/c/0", "2026-11-20/x", "other/a.zarr/c"):
            bucket.put(key, b"{}")
        proxy.times("503 SlowDown", 1)
        found = Pattern(f"{above}/{{date}}/{{model}}.zarr").find()
        assert [one.store for one in found] == [f"{above}/2026-11-20/{name}.zarr" for name in ("a", "b")]
        assert len(proxy.seen) == 3

    @pytest.mark.parametrize("fault", ["503 SlowDown", "reset"])
    def test_a_listing_goes_on_after_a_fault(self, faulty_s3: Storage, proxy: Faulty, fault: str) -> None:
        proxy.times(fault, 1)
        assert set(faulty_s3.list()) == {"a", "b", "c"}

    def test_a_listing_goes_on_behind_the_page_that_arrived(
        self, faulty_s3: Storage, proxy: Faulty, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of three objects, one to a page, each is listed although every second request fails."""
        monkeypatch.setattr(s3_module, "PAGE", 1)
        proxy.page = 1
        turns = itertools.count()
        proxy.plan = lambda method, path: "503 SlowDown" if next(turns) % 2 else None
        assert set(faulty_s3.list()) == {"a", "b", "c"}
        assert len(proxy.seen) == 5

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ("503 SlowDown", r"the service fails \(status 503 SlowDown\), \d+ times in"),
            ("reset", "a connection that broke off, "),
            ("hang", "no answer from the service in time, "),
        ],
    )
    def test_a_lasting_fault_is_an_error_of_the_infrastructure_in_bounded_time(
        self, faulty_s3: Storage, proxy: Faulty, settings: pytest.MonkeyPatch, fault: str, words: str
    ) -> None:
        settings.setenv("SEGPIPE_STORE_TIMEOUT", "1.2")
        store = open_storage(faulty_s3.url)
        proxy.plan = lambda method, path: fault
        begun = time.monotonic()
        with pytest.raises(InfrastructureError, match=rf"(?s){words}.*SEGPIPE_STORE_TIMEOUT"):
            store.get("b")
        assert time.monotonic() - begun < HUNG_S / 2
        assert len(proxy.seen) > 1

    def test_a_service_that_is_not_there_is_named(self, settings: pytest.MonkeyPatch) -> None:
        settings.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        settings.setenv("SEGPIPE_STORE_TIMEOUT", "0.3")
        with pytest.raises(InfrastructureError, match=r"s3://labels/x: found no connection to the service"):
            open_storage("s3://labels/x").list()

    @pytest.mark.parametrize(
        "call", [lambda store: store.list(), lambda store: store.get("b")], ids=["list", "get"]
    )
    def test_refused_access_is_explained_at_once(self, faulty_s3: Storage, proxy: Faulty, call: Any) -> None:
        proxy.plan = lambda method, path: "403 AccessDenied"
        with pytest.raises(InputError, match=r"(?s)refuses access \(status 403 AccessDenied\).*AWS_PROFILE"):
            call(faulty_s3)
        assert len(proxy.seen) == 1

    @pytest.mark.parametrize(
        "call", [lambda store: store.list(), lambda store: store.get("b")], ids=["list", "get"]
    )
    def test_a_missing_bucket_is_no_missing_object(self, settings: pytest.MonkeyPatch, call: Any) -> None:
        with pytest.raises(InputError, match=r"(?s)found no such bucket .*s3://nobody/x.*AWS_ENDPOINT_URL"):
            call(open_storage("s3://nobody/x"))

    def test_a_missing_object_is_absent_and_asked_for_once(self, faulty_s3: Storage, proxy: Faulty) -> None:
        assert faulty_s3.get("d") is None
        assert len(proxy.seen) == 1

    def test_other_answers_are_not_tried_again(self, faulty_s3: Storage, proxy: Faulty) -> None:
        proxy.plan = lambda method, path: "400 InvalidRequest"
        with pytest.raises(InputError, match=r"refuses the request \(status 400 InvalidRequest\)"):
            faulty_s3.get("a")
        assert len(proxy.seen) == 1

    def test_a_name_that_no_key_can_be_is_explained(self, s3: Storage, bucket: Bucket) -> None:
        bucket.put("a//b", b"x")
        with pytest.raises(InputError, match=r"(?s)whose name cannot be used.*rename the objects"):
            s3.list()

    @pytest.mark.parametrize("text", ["soon", "0", "-1", "nan"])
    def test_a_time_that_is_none_is_refused(self, settings: pytest.MonkeyPatch, text: str) -> None:
        settings.setenv("SEGPIPE_STORE_TIMEOUT", text)
        with pytest.raises(ConfigError, match="expected a number of seconds"):
            open_storage("s3://labels/x")


class TestRequests:
    """How much is asked of a service."""

    @pytest.mark.parametrize(
        ("where", "wanted"),
        [
            ((), ""),
            ((2, 5), "bytes=2-4"),
            ((990, 2000), "bytes=990-1999"),
            ((7, None), "bytes=7-"),
            ((-4, None), "bytes=-4"),
            ((-4, 998), "bytes=-4"),
        ],
    )
    def test_a_part_is_one_request(
        self, faulty_s3: Storage, proxy: Faulty, where: tuple[int, ...], wanted: str
    ) -> None:
        blob = faulty_s3.get("a", *where)
        assert blob is not None
        assert blob.data == (b"a" * 1000)[slice(*where) if where else slice(None)]
        assert [(method, parts) for method, _, parts in proxy.seen] == [("GET", wanted)]

    def test_requests_under_way_are_bounded(
        self, faulty_s3: Storage, proxy: Faulty, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(attempts, "IN_FLIGHT", BoundedSemaphore(3))
        proxy.plan = lambda method, path: "slow"
        with ThreadPoolExecutor(12) as threads:
            list(threads.map(faulty_s3.get, ["a"] * 6))
        assert len(proxy.seen) == 6
        assert 2 <= proxy.most_slow <= 3

    def test_a_listing_of_many_objects_asks_for_none_of_them(self, faulty_s3: Storage, proxy: Faulty) -> None:
        assert len(faulty_s3.list()) == 3
        assert len(proxy.seen) == 1

    def test_a_store_in_s3_is_viewed_as_a_folder_is(
        self, s3: Storage, bucket: Bucket, tmp_path: Path
    ) -> None:
        write_group(tmp_path / "s", {"x": label_maps((2, 8, 8))})
        bucket.upload(tmp_path / "s")
        local, remote = (view_store(open_storage(url)) for url in (str(tmp_path / "s"), s3.url))
        assert remote.node("x") == local.node("x")
        assert remote.array_paths() == ["x"]


class TestSecrets:
    """Secrets go to the service and nowhere else."""

    def test_a_storage_shows_and_pickles_its_address_only(self, s3: Storage, bucket: Bucket) -> None:
        bucket.put("a", b"x")
        pickled = pickle.dumps(s3)
        for text in (repr(s3), str(s3), s3.url, repr(pickled)):
            assert SECRET not in text
            assert KEY_ID not in text
        assert pickle.loads(pickled).list() == s3.list()

    @pytest.mark.parametrize("fault", ["403 AccessDenied", "400 Bad", "503 SlowDown", "reset"])
    def test_no_error_holds_a_secret_or_a_password_of_the_endpoint(
        self, faulty_s3: Storage, proxy: Faulty, settings: pytest.MonkeyPatch, fault: str
    ) -> None:
        settings.setenv("SEGPIPE_STORE_TIMEOUT", "0.3")
        settings.setenv("AWS_SESSION_TOKEN", f"token-{SECRET}")
        settings.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET}@127.0.0.1:{proxy.port}")
        store = open_storage(faulty_s3.url)
        proxy.plan = lambda method, path: fault
        with pytest.raises(SegpipeError) as caught:
            store.get("a")
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        with pytest.raises(SegpipeError) as caught:
            store.list()
        assert SECRET not in "".join(traceback.format_exception(caught.value))

    def test_no_address_in_an_error_of_the_library_is_repeated(self) -> None:
        def attempt() -> None:
            message = f"strange answer of http://user:{SECRET}@host/x to a request\nDebug {SECRET}"
            raise RuntimeError(message)

        with pytest.raises(InputError, match=r"strange answer of \.\.\. to a request") as caught:
            attempts.Requests("s3://labels/x", 1.0, "").send(attempt)
        assert SECRET not in "".join(traceback.format_exception(caught.value))

    @pytest.mark.parametrize(
        "url",
        [
            f"s3://labels/x?X-Amz-Signature={SECRET}",
            f"s3://labels/x?aws_secret_access_key={SECRET}",
            f"s3://labels/x?profile=p&anonymous={SECRET}",
            f"https://user:{SECRET}@host/x",
            f"https://host/x?sig={SECRET}",
            f"https://host/x#{SECRET}",
        ],
    )
    def test_an_address_with_a_secret_is_refused_and_not_repeated(self, url: str) -> None:
        with pytest.raises(ConfigError) as caught:
            open_storage(url)
        assert SECRET not in str(caught.value)

    def test_a_profile_gives_keys_and_endpoint(
        self, settings: pytest.MonkeyPatch, bucket: Bucket, proxy: Faulty, tmp_path: Path
    ) -> None:
        """The profile's endpoint is the proxy, and what arrives there is signed with the profile's key."""
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
            settings.delenv(name)
        credentials, config = tmp_path / "credentials", tmp_path / "config"
        credentials.write_text(f"[archive]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n")
        config.write_text(f"[profile archive]\nendpoint_url = http://127.0.0.1:{proxy.port}\n")
        settings.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
        settings.setenv("AWS_CONFIG_FILE", str(config))
        bucket.put("a", b"x")
        named = open_storage(f"s3://{BUCKET}/{bucket.prefix}?profile=archive")
        settings.setenv("AWS_SESSION_TOKEN", "of-another-account")
        mixed = open_storage(named.url)
        assert set(mixed.list()) == {"a"}
        assert set(proxy.tokens) == {""}
        settings.delenv("AWS_SESSION_TOKEN")
        settings.setenv("AWS_PROFILE", "archive")
        for store in (named, open_storage(f"s3://{BUCKET}/{bucket.prefix}")):
            proxy.signed.clear()
            assert set(store.list()) == {"a"}
            assert f"Credential={KEY_ID}/" in proxy.signed[0]
            assert SECRET not in repr(store) + store.url
        assert open_storage(named.url).list() == named.list()

    def test_anonymous_requests_are_not_signed(self, faulty_s3: Storage, proxy: Faulty) -> None:
        proxy.plan = lambda method, path: "403 AccessDenied"
        with pytest.raises(InputError, match="refuses access"):
            open_storage(f"{faulty_s3.url}?anonymous=true").get("a")
        assert proxy.signed == [""]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[other]\naws_access_key_id = x\n", "found no such profile"),
            ("[archive]\nsso_session = x\n", r"a profile without keys.*aws configure export-credentials"),
            (f"aws_secret_access_key = {SECRET}\n", "is no AWS file that can be read"),
        ],
    )
    def test_a_profile_that_cannot_be_used_is_explained(
        self, settings: pytest.MonkeyPatch, tmp_path: Path, text: str, words: str
    ) -> None:
        (tmp_path / "credentials").write_text(text)
        settings.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        with pytest.raises(ConfigError, match=f"(?s){words}") as caught:
            open_storage("s3://labels/x?profile=archive")
        assert SECRET not in "".join(traceback.format_exception(caught.value))

    def test_no_credentials_at_all_is_explained(self, settings: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            settings.delenv(name)
        settings.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
        settings.setenv("SEGPIPE_STORE_TIMEOUT", "0.5")
        with pytest.raises(InputError, match=r"(?s)found no credentials.*AWS_ACCESS_KEY_ID.*anonymous=true"):
            open_storage("s3://labels/x").list()

    def test_the_missing_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "obstore", None)
        for url in ("s3://labels/x", "https://host/x"):
            with pytest.raises(ConfigError, match=r"pip install 'segpipe\[cloud\]'"):
                open_storage(url)


class TestUnlisted:
    """A store that cannot be listed is viewed by the names that are known."""

    @pytest.fixture(params=[2, 3])
    def folder(self, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
        labels = {"x": label_maps((4, 8, 8)), "y": label_maps((2, 8, 8))}
        write_group(tmp_path, labels, zarr_format=request.param)
        return tmp_path

    @pytest.fixture
    def url(self, folder: Path) -> Iterator[str]:
        with serving(web_folder(folder)) as port:
            yield f"http://127.0.0.1:{port}"

    def test_an_array_is_found_by_name(self, folder: Path, url: str) -> None:
        seen = view_store(open_storage(url))
        local = view_store(open_storage(str(folder)))
        assert seen.node("x") == local.node("x")
        meta = seen.node("x")
        assert isinstance(meta, ArrayMeta)
        keys = [meta.object_key(unit) for unit in meta.units()]
        (folder / keys[1]).unlink()
        assert isinstance(seen.objects, AskedObjects)
        seen.objects.ask(keys)
        assert [key in seen.objects for key in keys] == [key != keys[1] for key in keys]

    def test_consolidated_metadata_give_the_tree(self, folder: Path, url: str) -> None:
        consolidate(folder)
        seen = view_store(open_storage(url))
        assert seen.array_paths() == ["x", "y"]
        assert [meta.path for meta in seen.arrays_below("")] == ["x", "y"]

    def test_an_array_whose_own_document_is_gone_is_gone(self, folder: Path, url: str) -> None:
        consolidate(folder)
        for document in ("x/zarr.json", "x/.zarray", "x/.zattrs"):
            (folder / document).unlink(missing_ok=True)
        assert view_store(open_storage(url)).array_paths() == ["y"]

    def test_no_store_and_no_array_are_told_apart(self, folder: Path, url: str) -> None:
        with pytest.raises(
            InputError, match=r"(?s)no array or group at 'nowhere'.*a web server lists nothing"
        ):
            view_store(open_storage(url)).node("nowhere")
        with pytest.raises(InputError, match=r"(?s)no Zarr metadata anywhere.*a web server cannot be listed"):
            view_store(open_storage(f"{url}/elsewhere")).node("x")

    def test_what_is_asked_again_is_not_asked_for_again(self, folder: Path, url: str) -> None:
        port = int(url.rpartition(":")[2])
        with faulty(port) as proxy:
            seen = view_store(open_storage(f"http://127.0.0.1:{proxy.port}"))
            seen.node("x")
            before = len(proxy.seen)
            seen.node("x")
            assert "x/zarr.json" in seen.objects or "x/.zarray" in seen.objects
            documents = [entry for entry in proxy.seen[before:] if entry[0] == "HEAD"]
        assert documents == []

    def test_a_listing_is_refused_in_words(self, url: str) -> None:
        with pytest.raises(InputError, match="a web server, which cannot list its objects"):
            open_storage(url).list()

    def test_an_object_just_written_is_known_by_content(
        self, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(storage_module, "RACY_S", 60.0)
        (folder / "young").write_bytes(b"young")
        store = open_storage(url)
        assert isinstance(store, AskingStorage)
        assert store.ask(["young"])["young"].content == content_hash(b"young")

    def test_a_server_that_refuses_is_explained(self, url: str) -> None:
        with faulty(int(url.rpartition(":")[2])) as proxy:
            proxy.plan = lambda method, path: "403"
            with pytest.raises(InputError, match=r"the service refuses access \(status 403"):
                view_store(open_storage(f"http://127.0.0.1:{proxy.port}"))


class TestArchives:
    """Zip archives that are not what they should be."""

    def written(self, path: Path, *members: tuple[str, bytes, int]) -> Path:
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
            warnings.simplefilter("ignore")
            for name, data, method in members:
                archive.writestr(zipfile.ZipInfo(name), data, method)
        return path

    def test_of_members_with_one_name_the_last_counts_as_zarr_reads_it(self, tmp_path: Path) -> None:
        path = self.written(tmp_path / "a.zip", ("k", b"first", 0), ("k", b"second", 0))
        blob = open_storage(str(path)).get("k")
        assert blob is not None
        assert blob.data == b"second"
        with zipfile.ZipFile(path) as archive:
            assert archive.read("k") == blob.data

    @pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "a//b", "./a"])
    def test_a_name_that_leads_elsewhere_is_out_of_reach(self, tmp_path: Path, name: str) -> None:
        path = self.written(tmp_path / "a.zip", (name, b"x", 0), ("fine", b"y", 0))
        store = open_storage(str(path))
        assert set(store.list()) == {"fine"}
        with pytest.raises(InputError, match="names joined by single slashes"):
            store.get(name)

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            ({8: 1}, "an encrypted member"),
            ({10: 12}, "a member compressed by method 12"),
            ({10: 8, 27: 0x7F}, r"a deflated member that claims \d+ MiB"),
            ({24: 9}, "a stored member of 1 bytes that claims 9"),
        ],
    )
    def test_what_cannot_be_read_or_claims_too_much_is_named(
        self, tmp_path: Path, damage: dict[int, int], words: str
    ) -> None:
        """Bytes of the central directory are changed: flags at 8, method at 10, size at 24."""
        path = self.written(tmp_path / "a.zip", ("k", b"x", 0))
        data = bytearray(path.read_bytes())
        for offset, value in damage.items():
            data[data.index(b"PK\1\2") + offset] = value
        path.write_bytes(data)
        with pytest.raises(InputError, match=rf"(?s){words}.*chunk k.*zip -0"):
            open_storage(str(path))

    def test_a_member_that_inflates_to_more_than_it_claims_is_no_data(self, tmp_path: Path) -> None:
        path = self.written(tmp_path / "a.zip", ("k", bytes(50_000_000), zipfile.ZIP_DEFLATED))
        data = bytearray(path.read_bytes())
        at = data.index(b"PK\1\2") + 24
        data[at : at + 4] = (1000).to_bytes(4, "little")
        path.write_bytes(data)
        store = open_storage(str(path))
        tracemalloc.start()
        with pytest.raises(OSError, match="does not hold the bytes that it claims"):
            store.get("k")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_a_flipped_bit_is_noticed(self, tmp_path: Path, method: int) -> None:
        path = self.written(tmp_path / "a.zip", ("k", bytes(range(256)), method))
        flip_bit(path, 100)
        with pytest.raises(OSError, match=r"checksum|inflated|claims"):
            open_storage(str(path)).get("k")

    @pytest.mark.parametrize("size", [0, 10, 60])
    def test_what_is_no_archive_is_explained(self, tmp_path: Path, size: int) -> None:
        path = self.written(tmp_path / "a.zip", ("k", bytes(50), 0))
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(InputError, match="no zip archive, or a damaged one"):
            open_storage(str(path))
        path.unlink()
        with pytest.raises(InputError, match="no archive that can be opened"):
            open_storage(f"zip://{path}")

    @settings_of_examples(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(changes=st.dictionaries(st.integers(0, 400), st.integers(0, 255), min_size=1, max_size=6))
    def test_a_damaged_archive_is_an_error_or_sound_bytes(
        self, tmp_path: Path, changes: dict[int, int]
    ) -> None:
        """Whatever bytes are changed: a clear error, or members as they were written."""
        sound = {"a": b"x" * 80, "b/c": bytes(range(100))}
        path = self.written(tmp_path / "a.zip", ("a", sound["a"], 0), ("b/c", sound["b/c"], 8))
        data = bytearray(path.read_bytes())
        for at, value in changes.items():
            data[at % len(data)] = value
        path.write_bytes(data)
        try:
            store = open_storage(str(path))
            for key in store.list():
                blob = store.get(key)
                assert blob is None or blob.data == sound.get(key, blob.data)
        except (InputError, OSError):
            pass

    def test_an_archive_written_again_is_new_as_a_whole(self, tmp_path: Path) -> None:
        path = self.written(tmp_path / "a.zip", ("k", b"same", 0))
        store = open_storage(str(path))
        before = store.list()["k"]
        time.sleep(0.02)
        self.written(path, ("k", b"same", 0))
        assert store.list()["k"].fingerprint != before.fingerprint
        hashed = content_hashed(store, store.list(), ["k"])["k"]
        assert hashed.fingerprint == f"content:{content_hash(b'same')}"

    def test_threads_read_one_archive(self, tmp_path: Path) -> None:
        members = [(f"k{number}", bytes([number]) * 5000, 8 * (number % 2)) for number in range(40)]
        store = open_storage(str(self.written(tmp_path / "a.zip", *members)))
        with ThreadPoolExecutor(8) as threads:
            blobs = list(threads.map(store.get, [name for name, _, _ in members] * 5))
        assert [blob and blob.data for blob in blobs] == [data for _, data, _ in members] * 5

    def test_a_young_archive_is_waited_for_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = self.written(tmp_path / "a.zip", ("k", b"x", 0))
        monkeypatch.setattr(storage_module, "RACY_S", 0.3)
        store = open_storage(str(path))
        listed = store.list()["k"]
        assert listed.content == ""
        assert time.time_ns() - listed.modified_ns >= 0.3e9

    def test_zarr_python_wrote_it(self, tmp_path: Path) -> None:
        """A store that zarr-python wrote as an archive is viewed like the folder."""
        data = label_maps()
        write(tmp_path / "s", data)
        with zarr.storage.ZipStore(tmp_path / "s.zip", mode="w") as archive:
            array = zarr.create_array(archive, shape=data.shape, dtype=data.dtype, chunks=(2, 8, 16))
            array[...] = data
        local, zipped = (view_store(open_storage(str(tmp_path / name))) for name in ("s", "s.zip"))
        assert zipped.node("") == local.node("")
        assert {key for key in zipped.objects if key.startswith("c/")} == {
            key for key in local.objects if key.startswith("c/")
        }
