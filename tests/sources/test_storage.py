"""Local folders as stores: listing, parts of objects, links, and the rule for objects written just now."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from segpipe.errors import ConfigError, InputChangedError, InputError
from segpipe.sources import storage as module
from segpipe.sources.storage import LocalStorage, ObjectInfo, content_hash, open_storage, read_listed
from tests.sources.conformance import StorageTests
from tests.sources.stores import WatchedStorage, rewrite_quietly


class Folder:
    """Writes files as a user would."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def remove(self, key: str) -> None:
        (self.root / key).unlink()


class TestLocalStorage(StorageTests):
    """A folder does what every storage does."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> LocalStorage:
        return LocalStorage(str(tmp_path))

    @pytest.fixture
    def writer(self, tmp_path: Path) -> Folder:
        return Folder(tmp_path)


class TestOpening:
    """Addresses, and folders that cannot be opened."""

    def test_a_path_and_a_file_url_are_the_same_store(self, tmp_path: Path) -> None:
        folder = tmp_path / "with space"
        folder.mkdir()
        assert open_storage(str(folder)).url == open_storage(folder.as_uri()).url == str(folder)

    def test_the_url_of_a_relative_path_is_good_anywhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "s.zarr").mkdir()
        monkeypatch.chdir(tmp_path)
        assert open_storage("s.zarr").url == str(tmp_path / "s.zarr")

    def test_an_unknown_kind_of_store_is_named(self) -> None:
        with pytest.raises(ConfigError, match=r"no store 'gopher'; known: .*file"):
            open_storage("gopher://bucket/labels.zarr")

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"found no such folder, expected a folder .*missing\.zarr"):
            open_storage(str(tmp_path / "missing.zarr"))

    def test_a_folder_nearby_is_named_by_what_tells_stores_apart(self, tmp_path: Path) -> None:
        for name in ("truth.zarr", "model_a.zarr"):
            (tmp_path / name).mkdir()
        with pytest.raises(InputError, match=r"did you mean .*/model_a\.zarr\?"):
            open_storage(str(tmp_path / "model_b.zarr"))
        with pytest.raises(InputError) as caught:
            open_storage(str(tmp_path / "pred.zarr"))
        assert "did you mean" not in str(caught.value)

    def test_a_file_is_no_store(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"x")
        with pytest.raises(InputError, match="found a file, expected a folder"):
            open_storage(str(tmp_path / "file"))

    def test_a_folder_that_must_not_be_read_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        with pytest.raises(InputError, match="must not be read"):
            open_storage(str(tmp_path))

    def test_all_folders_that_cannot_be_listed_are_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("a", "b", "c"):
            (tmp_path / name).mkdir()
        scandir = os.scandir

        def refusing(path: str) -> Any:
            if path.rstrip("/").endswith(("/a", "/c")):
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refusing)
        with pytest.raises(InputError, match=r"(?s)'a' cannot be listed \(Permission denied\).*'c' cannot"):
            LocalStorage(str(tmp_path)).list()


class TestWhatIsAnObject:
    """Only regular files within the folder are objects."""

    def test_a_folder_or_a_pipe_in_place_of_a_chunk_is_no_object(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        os.mkfifo(tmp_path / "pipe")
        store = LocalStorage(str(tmp_path))
        assert store.list() == {}
        assert store.get("folder") is None
        assert store.get("pipe") is None

    def test_a_link_within_the_store_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"data")
        (tmp_path / "b").symlink_to(tmp_path / "a")
        store = LocalStorage(str(tmp_path))
        assert set(store.list()) == {"a", "b"}
        blob = store.get("b")
        assert blob is not None
        assert (blob.data, blob.info) == (b"data", store.list()["b"])

    def test_a_store_that_is_a_link_itself_is_opened(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "a").write_bytes(b"data")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        assert set(open_storage(str(tmp_path / "link")).list()) == {"a"}

    @pytest.mark.parametrize("target", ["../secret", "nowhere", "folder", "../outside"])
    def test_a_link_out_or_nowhere_or_to_a_folder_is_named(self, tmp_path: Path, target: str) -> None:
        (tmp_path / "secret").write_bytes(b"secret")
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "x").write_bytes(b"secret")
        (tmp_path / "s" / "folder").mkdir(parents=True)
        (tmp_path / "s" / "c").symlink_to(target)
        with pytest.raises(InputError, match=r"(?s)a symbolic link at 'c'.*copy the data into it"):
            LocalStorage(str(tmp_path / "s")).list()

    @pytest.mark.parametrize("key", ["file", "folder/x"])
    def test_a_link_out_is_not_read_either(self, tmp_path: Path, key: str) -> None:
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "x").write_bytes(b"secret")
        (tmp_path / "s").mkdir()
        (tmp_path / "s" / "file").symlink_to("../outside/x")
        (tmp_path / "s" / "folder").symlink_to("../outside")
        with pytest.raises(InputError, match="leads out of the store"):
            LocalStorage(str(tmp_path / "s")).get(key)


class TestFingerprints:
    """A tag changes with the object; where it could fail to, the content is hashed."""

    def test_restoring_the_time_of_the_last_change_does_not_hide_it(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"one")
        store = LocalStorage(str(tmp_path))
        before = store.list()["a"]
        rewrite_quietly(tmp_path / "a", b"two")
        after = store.list()["a"]
        assert os.stat(tmp_path / "a").st_size == before.size == after.size
        assert after.fingerprint != before.fingerprint

    def test_an_object_replaced_by_another_file_changes(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"one")
        store = LocalStorage(str(tmp_path))
        before = store.list()["a"]
        (tmp_path / "b").write_bytes(b"two")
        os.replace(tmp_path / "b", tmp_path / "a")
        assert store.list()["a"].fingerprint != before.fingerprint

    def test_writing_while_it_is_read_is_a_change(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a").write_bytes(b"one")
        read = module._read

        def interrupted(handle: int, start: int, count: int) -> bytes:
            data = read(handle, start, count)
            time.sleep(0.02)  # The clock of a file system ticks every few milliseconds.
            (tmp_path / "a").write_bytes(b"two")
            return data

        monkeypatch.setattr(module, "_read", interrupted)
        with pytest.raises(InputChangedError, match="it was written while it was read"):
            LocalStorage(str(tmp_path)).get("a")

    def test_a_read_that_the_system_cuts_short_is_continued(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a").write_bytes(b"0123456789")
        pread = os.pread
        monkeypatch.setattr(os, "pread", lambda handle, count, start: pread(handle, min(count, 3), start))
        blob = LocalStorage(str(tmp_path)).get("a", 1, 9)
        assert blob is not None
        assert blob.data == b"12345678"

    def test_reading_what_was_listed_notices_other_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"one")
        store = LocalStorage(str(tmp_path))
        listed = store.list()["a"]
        assert read_listed(store, "a", listed).data == b"one"
        hashed = ObjectInfo(listed.size, "another tag", 0, content_hash(b"one"))
        assert read_listed(store, "a", hashed).data == b"one"
        (tmp_path / "a").write_bytes(b"two")
        for info in (listed, hashed):
            with pytest.raises(InputChangedError, match="it was written again"):
                read_listed(store, "a", info)


class TestYoungObjects:
    """Git's racy rule: an object written just now could be written again without its tag changing."""

    @pytest.fixture(autouse=True)
    def _half_a_second(self, no_waiting: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "RACY_S", 0.5)

    def test_listing_waits_once_and_then_sees_the_tags_that_every_later_listing_sees(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a").write_bytes(b"one")
        store = WatchedStorage(str(tmp_path))
        first = store.list()
        monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waited"))
        assert store.list() == first
        assert first["a"].content == ""
        assert store.reads == []
        assert time.time_ns() - first["a"].modified_ns >= 0.5e9

    def test_old_objects_are_not_waited_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a").write_bytes(b"one")
        time.sleep(0.55)
        monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waited"))
        LocalStorage(str(tmp_path)).list()

    def test_an_object_still_being_written_is_known_by_its_content(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "RACY_S", 2.0)
        (tmp_path / "old").write_bytes(b"old")
        (tmp_path / "busy").write_bytes(b"one")
        (tmp_path / "gone").write_bytes(b"x")
        sleep = time.sleep

        def writing(seconds: float) -> None:
            sleep(seconds)
            (tmp_path / "busy").write_bytes(b"two")
            (tmp_path / "gone").unlink()

        monkeypatch.setattr(time, "sleep", writing)
        listing = LocalStorage(str(tmp_path)).list()
        assert set(listing) == {"old", "busy"}
        assert listing["busy"].content == content_hash(b"two")
        assert listing["old"].content == ""

    def test_a_time_in_the_future_is_not_waited_for_but_hashed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a").write_bytes(b"one")
        time.sleep(0.55)
        future = time.time() + 3600
        os.utime(tmp_path / "a", (future, future))
        monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waited"))
        assert LocalStorage(str(tmp_path)).list()["a"].content == content_hash(b"one")
