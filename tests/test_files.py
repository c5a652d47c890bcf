"""Output files: replaced in one step, or written through where they are streams."""

from __future__ import annotations

import os
import re
import resource
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sifigan_triton.features.audio import write_audio
from sifigan_triton.features.features import Features
from sifigan_triton.features.plot import plot_synthesis
from sifigan_triton.files import DiskFullError, atomic_file, is_stream
from sifigan_triton.measure import report
from sifigan_triton.measure.plan import BenchmarkOptions
from sifigan_triton.voice.folder import save_voice
from tests.conftest import ROOT
from tests.small_voice import small_settings, small_voice


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


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file of this process become larger, as a full disk would; Python itself keeps the signal away."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_voice(path: Path) -> None:
    save_voice(path.parent, *small_voice(), "# Card\n")


FEATURES = Features(np.full(99, 200.0, "f"), np.ones((99, 40), "f"), np.ones((99, 3), "f"), 24000, 5.0)
WAVEFORM = np.sin(np.arange(9000) / 20.0)
WRITERS: dict[str, Callable[[Path], object]] = {
    "out": write,
    "out.wav": lambda path: write_audio(path, WAVEFORM, 24000),
    "out.flac": lambda path: write_audio(path, WAVEFORM, 24000),
    "out.png": lambda path: plot_synthesis(path, WAVEFORM, 24000, FEATURES.f0, 5.0, "title"),
    "out.pdf": lambda path: plot_synthesis(path, WAVEFORM, 24000, FEATURES.f0, 5.0, "title"),
    "out.npz": FEATURES.save,
    "generator.safetensors": write_voice,
}


@pytest.mark.parametrize("name", WRITERS)
def test_without_room_the_file_its_need_and_the_fix_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    size, before = path.stat().st_size, {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    path.write_bytes(before[name][:-1])
    with files_of_at_most(2), pytest.raises(DiskFullError) as raised:
        WRITERS[name](path)
    found = re.fullmatch(
        rf"{path}: ([\d,]+) bytes do not fit: a file may have 2 \(`ulimit -f`\): .*", str(raised.value)
    )
    assert found is not None, raised.value
    assert abs(int(found[1].replace(",", "")) - size) < 50  # pictures and archives hold the time
    assert path.read_bytes() == before[name][:-1]
    assert {entry.name for entry in tmp_path.iterdir()} == before.keys()


def test_results_of_a_benchmark_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "read_settings", lambda *arguments: small_settings(small_voice()[0])[0])
    options = BenchmarkOptions(tmp_path, models=("sifigan",))
    with files_of_at_most(2), pytest.raises(DiskFullError, match=r"benchmark\.json: [\d,]+ bytes do not fit"):
        report.write_results(tmp_path / "out", [], options)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_is_named_with_what_is_free(tmp_path: Path) -> None:
    """A real one, of 64 KiB, behind a link; what did not fit is gone before anybody looks at what is free."""
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*namespace, "true"], check=False).returncode:
        pytest.skip("this user may not mount anything, not even in a name space of its own")
    code = """
import sys
from pathlib import Path
from sifigan_triton.files import atomic_file
with atomic_file(Path("link")) as file:
    file.write(bytes(100_000))
"""
    mount = 'mkdir small; ln -s small/out link; mount -t tmpfs -o size=64k tmpfs small; "$@"; ls -A small'
    done = subprocess.run(
        [*namespace, "sh", "-c", mount, "sh", sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "DiskFullError: link: 100,000 bytes do not fit: the disk is full, 65,536 are free: free some" in done.stderr
    assert done.stdout == ""


def test_a_stream_without_room_is_named() -> None:
    with pytest.raises(DiskFullError, match=r"^/dev/full: 3 bytes do not fit: the disk is full: free some"):
        write(Path("/dev/full"))


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        write(tmp_path / "file" / "out")
