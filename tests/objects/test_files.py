"""Segments, spill files and directories, on a real file system, including ones that are full."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scaler_protocol.ids import ObjectId
from scaler_trio.objects import ObjectStoreFull
from scaler_trio.objects.directories import claim_directory, private_directory, runtime_directory
from scaler_trio.objects.local import listen_locally
from scaler_trio.objects.pieces import flat_views, pieces, read_into, write_views
from scaler_trio.objects.segments import MemoryFiles, memory_limit, open_for_reading, open_for_writing, write_at
from scaler_trio.objects.spill import SpillFiles
from tests.objects.serving import MIB, Scheduler, running_server

OBJECT = ObjectId(b"o" * 24)


@pytest.fixture
def source() -> Iterator[int]:
    """A segment of 8 MiB."""
    store = MemoryFiles()
    segment = store.create(8 * MIB)
    write_at(segment.descriptor, os.urandom(8 * MIB), 0)
    yield segment.descriptor
    store.destroy(segment)


@contextmanager
def small_disk(path: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of this size; skips where we may not mount one."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_segment_can_be_neither_shrunk_nor_grown() -> None:
    store = MemoryFiles()
    segment = store.create(4096)
    for size in (0, 8192):
        with pytest.raises(PermissionError):
            os.ftruncate(segment.descriptor, size)
    with pytest.raises(PermissionError):
        os.pwrite(segment.descriptor, b"x", 4096)
    store.destroy(segment)


def test_a_segment_opened_for_reading_shows_what_is_written_and_cannot_be_written() -> None:
    store = MemoryFiles()
    segment = store.create(4096)
    reader, writer = open_for_reading(segment), open_for_writing(segment)
    write_at(writer, b"hello", 0)
    assert os.pread(reader, 5, 0) == b"hello"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(reader, b"x", 0)
    for descriptor in (reader, writer):
        os.close(descriptor)
    store.destroy(segment)


def test_the_memory_limit_is_never_above_the_setting_nor_a_share_of_the_machine() -> None:
    assert memory_limit(5 * MIB) == 5 * MIB
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory_limit(None) <= 0.3 * machine
    assert memory_limit(1 << 60) == pytest.approx(memory_limit(None), rel=0.2)


def test_a_spilled_object_reads_back_and_outlives_its_deletion_for_who_reads_it(tmp_path: Path, source: int) -> None:
    spill = SpillFiles(tmp_path)
    spill.write(OBJECT, source, 8 * MIB - 5)
    reader = spill.open_for_reading(OBJECT)
    spill.delete(OBJECT)
    spill.delete(OBJECT)
    with pytest.raises(FileNotFoundError):
        spill.open_for_reading(OBJECT)
    assert os.pread(reader, 8 * MIB, 0) == os.pread(source, 8 * MIB - 5, 0)
    os.close(reader)
    spill.close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_raises_and_leaves_nothing_of_the_object(tmp_path: Path, source: int) -> None:
    with small_disk(tmp_path / "disk", 6 * MIB) as disk:
        spill = SpillFiles(disk)
        with pytest.raises(OSError, match="No space left") as failure:
            spill.write(OBJECT, source, 8 * MIB)
        assert failure.value.errno == errno.ENOSPC
        assert list(spill.directory.iterdir()) == []
        spill.write(OBJECT, source, 4 * MIB)
        spill.close()


def test_a_write_that_the_system_cuts_short_raises_and_leaves_nothing(tmp_path: Path, source: int) -> None:
    spill = SpillFiles(tmp_path)
    with file_size_limit(3 * MIB), pytest.raises(OSError, match="File too large"):
        spill.write(OBJECT, source, 8 * MIB)
    assert list(spill.directory.iterdir()) == []
    spill.close()


def test_a_write_ends_soon_when_the_server_stops(tmp_path: Path, source: int) -> None:
    spill = SpillFiles(tmp_path)
    spill.stop_writing()
    with pytest.raises(OSError, match="stopping"):
        spill.write(OBJECT, source, 8 * MIB)
    assert list(spill.directory.iterdir()) == []
    spill.close()


def test_a_server_whose_disk_turns_out_full_refuses_with_the_reason_and_keeps_what_it_has(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 6 * MIB) as disk:
        with running_server(memory_bytes=8 * MIB, spill_directory=disk) as server:
            access = server.access()
            data = [os.urandom(4 * MIB) for _ in range(3)]
            written = [access.write([each], len(each)) for each in data[:2]]
            others = disk / "of somebody else"
            others.write_bytes(bytes(5 * MIB))  # after the server looked how much is free
            with pytest.raises(ObjectStoreFull, match="writing to it failed: No space left on device"):
                access.write([data[2]], 4 * MIB)
            assert [access.read(each) for each in written] == data[:2]
            others.unlink()
            scheduler = Scheduler(server)
            scheduler.delete(written[0])
            written.append(access.write([data[2]], 4 * MIB))
            assert [access.read(each) for each in written[1:]] == data[1:]
            access.close()
            scheduler.lane.close()


def test_a_claimed_directory_is_private_and_goes_when_it_is_closed(tmp_path: Path) -> None:
    claim = claim_directory(tmp_path / "above", "x-")
    assert claim.path.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "above").stat().st_mode & 0o777 == 0o700
    claim.close()
    claim.close()
    assert list((tmp_path / "above").iterdir()) == []


def test_a_claim_sweeps_what_dead_processes_left_and_nothing_else(tmp_path: Path) -> None:
    alive = claim_directory(tmp_path, "x-")
    child = os.fork()
    if child == 0:
        dead = claim_directory(tmp_path, "x-")
        (dead.path / "left").write_text("behind")
        os._exit(0)
    os.waitpid(child, 0)
    (tmp_path / "y-others").mkdir()
    (tmp_path / "x-file").write_text("not a directory")
    assert len(list(tmp_path.glob("x-*"))) == 3
    mine = claim_directory(tmp_path, "x-")
    assert {path.name for path in tmp_path.iterdir()} == {alive.path.name, mine.path.name, "y-others", "x-file"}
    alive.close()
    mine.close()


def test_a_directory_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("giving a directory away needs root")
    path = tmp_path / "theirs"
    path.mkdir()
    os.chown(path, 12345, 12345)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        private_directory(path)


def test_a_symbolic_link_is_not_followed_into_somebody_elses_directory(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(PermissionError):
        private_directory(tmp_path / "link")


def test_a_path_too_long_for_a_socket_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with pytest.raises(OSError, match="XDG_RUNTIME_DIR"):
        listen_locally("o-")
    assert list(runtime_directory().iterdir()) == []


def test_parts_are_cut_into_pieces_of_bounded_size_and_number() -> None:
    views = flat_views([b"abcdef", b"", b"gh", b"i", b"j"], 10)
    cut = [b"|".join(map(bytes, piece)) for piece in pieces(views, 4, 2)]
    assert cut == [b"abcd", b"ef|gh", b"i|j"]
    with pytest.raises(ValueError, match="10 bytes, not 11"):
        flat_views(views, 11)


def test_views_are_written_whole_and_read_back() -> None:
    descriptor = os.memfd_create("test")
    parts = [bytes([i % 256]) * (i * 7 % 50) for i in range(3000)]
    data = b"".join(parts)
    write_views(descriptor, flat_views(parts, len(data)))
    buffer = bytearray(len(data))
    read_into(descriptor, memoryview(buffer))
    assert buffer == data
    with pytest.raises(OSError, match="ends after"):
        read_into(descriptor, memoryview(bytearray(len(data) + 1)))
    os.close(descriptor)
