"""Output files: replaced in one step, or written through where they are streams."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sifigan_triton.files import atomic_file, is_stream
from tests.conftest import ROOT


def write(path: Path, data: bytes = b"new") -> None:
    """Write as soundfile does: its header is completed at the end, so the file must be seekable."""
    with atomic_file(path) as file:
        file.write(b"?" * len(data))
        file.seek(0)
        file.write(data)


def interrupted(path: Path) -> None:
    """Fail half-way."""
    with atomic_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt


def test_file_is_replaced_or_made_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "out"
    for data in (b"one", b"other"):
        write(path, data)
        assert path.read_bytes() == data
    assert [entry.name for entry in path.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
@pytest.mark.parametrize("exists", [True, False], ids=["target", "dangling"])
def test_link_stays_and_its_target_is_replaced(tmp_path: Path, exists: bool, relative: bool) -> None:
    target = tmp_path / "far" / "target"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"old")
    (tmp_path / "second").symlink_to("far/target" if relative else target)
    (tmp_path / "first").symlink_to("second")
    write(tmp_path / "first")
    assert (tmp_path / "first").is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert target.read_bytes() == b"new"
    assert not target.is_symlink()
    assert len(list(tmp_path.rglob("*"))) == 4


def test_failed_block_leaves_the_target_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "link")
    assert (tmp_path / "target").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=r"Too many levels of symbolic links.*/a'"):
        write(tmp_path / "a")


@pytest.mark.parametrize("linked", [False, True], ids=["itself", "through-a-link"])
def test_fifo_is_written_through(tmp_path: Path, linked: bool) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    path = fifo
    if linked:
        path = tmp_path / "link"
        path.symlink_to("fifo")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
    reader.start()
    assert is_stream(path)
    write(path, b"x" * 200_000)  # more than a pipe holds
    reader.join(10.0)
    assert read == [b"x" * 200_000]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_failed_block_writes_nothing_into_a_stream(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with pytest.raises(KeyboardInterrupt):
        interrupted(Path(f"/dev/fd/{writing}"))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b""


def test_device_is_written_through() -> None:
    """A terminal: a character device in a folder where nothing could take its place, unlike that of /dev/null."""
    master, slave = os.openpty()
    name = Path(os.ttyname(slave))
    assert is_stream(name)
    write(name, b"data")
    assert os.read(master, 100) == b"data"
    assert stat.S_ISCHR(name.stat().st_mode)
    os.close(slave)
    os.close(master)


@pytest.mark.parametrize("name", ["stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("to_file", [False, True], ids=["pipe", "file"])
def test_standard_output_is_written_through(tmp_path: Path, name: str, to_file: bool) -> None:
    """What went before and comes after on the same descriptor stays, also where a shell sent it to a file.

    The link `stdout` stands for /dev/stdout, which a fault would replace on this machine.
    """
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    code = f"""
import os
from pathlib import Path
from sifigan_triton.files import atomic_file
os.write(1, b"before ")
with atomic_file(Path({str(tmp_path / name)!r})) as file:
    file.write(b"data")
os.write(1, b" after")
"""
    out = tmp_path / "out"
    with out.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=file if to_file else subprocess.PIPE, cwd=ROOT, timeout=60, check=True
        )
    assert (out.read_bytes() if to_file else done.stdout) == b"before data after"


def test_folder_and_socket_are_refused_with_words(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder: is a folder, expected the name of a file.*folder/out"):
        write(folder)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="is a socket or a disk"):
            write(tmp_path / "socket")
        assert stat.S_ISSOCK((tmp_path / "socket").stat().st_mode)
    assert list(folder.iterdir()) == []
