"""Repositories on other disks than their temporary files, with mounts inside, and on disks that are full."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sifigan_triton.build.model_repository import BuildError, BuildOptions, build
from sifigan_triton.repository import staging
from sifigan_triton.repository.servable import find_servable
from tests.conftest import ROOT
from tests.small_build import OPENVINO, contents, leftovers, openvino_engines

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
PUBLISH = """
import json, os, sys
from pathlib import Path
from sifigan_triton.repository.staging import publish, staging_folder

output, content, error = Path(sys.argv[1]), sys.argv[2] * int(sys.argv[3]), None
held = (output / "b" / "1" / "file").open()  # as a server holds it
try:
    with staging_folder(output) as staging:
        for name in "abc":
            (staging / name / "1").mkdir(parents=True)
            (staging / name / "1" / "file").write_text(content)
        publish(staging, output)
except OSError as failure:
    error = str(failure)
names = sorted(str(path.relative_to(output.parent)) for path in output.parent.rglob("*") if path.is_file())
files = {name: (output.parent / name).read_text()[:9] for name in names}
print(json.dumps({"files": files, "error": error, "held": held.read()}))
"""


@pytest.fixture
def shm() -> Iterator[Path]:
    """A folder on another disk than the temporary files."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        if Path(folder).stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
            pytest.skip("/dev/shm is no other disk than the temporary files")
        yield Path(folder)


def publish_beside_mounts(
    tmp_path: Path, *mounts: str, content: str = "new", times: int = 1, place: str = "models"
) -> Any:
    """Publish a/1/file, b/1/file and c/1/file over an old b/1/file, in a name space of mounts of its own."""
    if shutil.which("unshare") is None or subprocess.run([*NAMESPACE, "true"], check=False).returncode:
        pytest.skip("this user may not mount anything, not even in a name space of its own")
    (tmp_path / "all").mkdir()
    commands = [*mounts, "mkdir -p models/b/1", "echo -n old > models/b/1/file", 'exec "$@"']
    program = [sys.executable, "-c", PUBLISH, f"{tmp_path}/all/{place}", content, str(times)]
    done = subprocess.run(
        [*NAMESPACE, "bash", "-ec", f"cd {tmp_path}/all; {'; '.join(commands)}", "bash", *program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


BIND = "mkdir -p models under{0}; mount --bind under{0} models{0}"
FILE = "echo -n other > file; touch {0}; mount --bind file {0}"
READ_ONLY = "mkdir models; mount --bind -o ro . .; cd $PWD"
UNWRITABLE = 'chmod 555 .; set -- setpriv --inh-caps=-all --bounding-set=-all "$@"'
TMPFS = "mkdir -p models{0}; mount -t tmpfs -o size={1} tmpfs models{0}"


@pytest.mark.parametrize(
    "mounts",
    [
        pytest.param([BIND.format("")], id="output-bind-mount-of-the-same-disk"),
        pytest.param([TMPFS.format("", "1m")], id="output-on-another-disk"),
        pytest.param(["mkdir -p models/b under/b", "mount --bind under/b models/b"], id="bind-mount-inside"),
        pytest.param([TMPFS.format("/c", "1m")], id="disk-inside"),
        pytest.param([TMPFS.format("", "1m"), TMPFS.format("/a", "1m")], id="disk-inside-a-disk"),
        pytest.param([READ_ONLY, TMPFS.format("", "1m")], id="read-only-around-it"),
        pytest.param(["mkdir -p models/b/1", UNWRITABLE], id="unwritable-around-it"),
    ],
)
def test_files_are_published_whole_whatever_is_mounted(tmp_path: Path, mounts: list[str]) -> None:
    said = publish_beside_mounts(tmp_path, *mounts)
    assert said["error"] is None
    assert said["held"] == "old"
    here = {name: text for name, text in said["files"].items() if not name.startswith("under")}
    assert here == {f"models/{name}/1/file": "new" for name in "abc"}


def test_a_disk_inside_that_is_full_leaves_everything_as_it_was(tmp_path: Path) -> None:
    said = publish_beside_mounts(tmp_path, TMPFS.format("/c", "64k"), times=50_000)
    assert said["files"] == {"models/b/1/file": "old"}
    for part in ("models/c/1/file: 150,000 bytes do not fit", "the disk is full, 65,536 are free", "free some space"):
        assert part in said["error"]


def test_a_read_only_folder_inside_leaves_everything_as_it_was(tmp_path: Path) -> None:
    mounts = ["mkdir -p models/c/1 under", "mount -t tmpfs -o ro tmpfs models/c/1"]
    said = publish_beside_mounts(tmp_path, *mounts)
    assert said["files"] == {"models/b/1/file": "old"}
    assert "Read-only file system" in said["error"]
    assert "models/c/1" in said["error"]


def test_a_file_that_is_mounted_itself_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    mounts = ["mkdir -p models/c/1", FILE.format("models/c/1/file")]
    said = publish_beside_mounts(tmp_path, *mounts)
    assert said["files"] == {"file": "other", "models/b/1/file": "old", "models/c/1/file": "other"}
    assert "models/c/1/file: is mounted by itself" in said["error"]
    assert "mount the folder" in said["error"]


def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    said = publish_beside_mounts(tmp_path, "mkdir -p models/c/1/file")
    assert said["files"] == {"models/b/1/file": "old"}
    assert "models/c/1/file: is a folder, expected a file or nothing: remove it" in said["error"]


def test_a_place_with_a_blank_in_its_name_is_seen_as_a_mount(tmp_path: Path) -> None:
    mounts = ["mkdir -p 'my models/b/1'", "ln -s 'my models' models", FILE.format("'my models/b/1/file'")]
    said = publish_beside_mounts(tmp_path, *mounts, place="my models")
    assert "is mounted by itself" in said["error"]


def test_build_into_folders_of_another_disk(
    options: BuildOptions, exports: list[str], tmp_path: Path, shm: Path
) -> None:
    build(replace(options, output=tmp_path / "expected"))
    options.output.mkdir()
    for model in (OPENVINO.model, "preprocess"):
        (shm / model).mkdir()
        (options.output / model).symlink_to(shm / model)
    build(options)
    for model in (OPENVINO.model, "preprocess"):
        assert contents(shm / model) == contents(tmp_path / "expected" / model)
    assert find_servable(options.output).left_out == {}
    assert build(options) == []


@pytest.mark.parametrize("killed", [True, False], ids=["of-a-killed-build", "of-a-running-one"])
def test_what_was_brought_beside_its_place(
    options: BuildOptions, exports: list[str], tmp_path: Path, killed: bool
) -> None:
    build(options)
    with subprocess.Popen(["true"]) as ended:
        pass
    folder = options.output / OPENVINO.model / "1"
    left = folder / f".model.onnx.{ended.pid if killed else os.getppid()}-0123abcd.tmp"
    own = folder / ".notes.tmp"
    for path in (left, own):
        path.write_text("half")
    build(options)
    assert left.exists() is not killed
    assert own.exists()


def test_disk_that_fills_up_while_copying_leaves_the_previous_build(
    options: BuildOptions, exports: list[str], shm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some files are copied already, then the next one does not fit."""
    options.output.mkdir()
    (options.output / OPENVINO.model).symlink_to(shm)
    build(options)
    before, copied, original = contents(options.output), [], shutil.copyfile

    def copy_some(source: Path, target: Path) -> None:
        original(source, target)
        copied.append(target)
        if len(copied) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(staging.shutil, "copyfile", copy_some)
    with pytest.raises(BuildError, match=r"models: nothing is published, what was there stays: .* bytes do not fit"):
        build(replace(options, window=48))
    monkeypatch.undo()
    assert len(copied) == 3
    assert contents(options.output) == before
    assert find_servable(options.output).left_out == {}
    assert leftovers(options.output) == []


COPY = "cp -r {previous}/. {output}"
LIMITED = {
    "disk": (f"mount -t tmpfs -o size={{kib}}k tmpfs {{output}}; {COPY}", r"the disk is full, [\d,]+ are free"),
    "file": (f"{COPY}; ulimit -f {{kib}}", r"a file may have [\d,]+ \(`ulimit -f`\): raise the limit"),
}


def pages(folder: Path) -> int:
    """What the files of a folder take on a tmpfs, KiB: whole pages."""
    return 4 * sum(-(-len(data) // 4096) for data in contents(folder).values())


@pytest.mark.slow
@pytest.mark.parametrize("limit", LIMITED)
@pytest.mark.parametrize("engine", ["openvino-fp32", "pt-fp32", "onnx-fp32"])
def test_real_build_without_room_says_what_it_needs(
    options: BuildOptions, exports: list[str], tmp_path: Path, engine: str, limit: str
) -> None:
    """Nothing is replaced: each exporter really runs out of space; what was published before stays as it was."""
    if limit == "disk" and subprocess.run([*NAMESPACE, "true"], check=False).returncode:
        pytest.skip("this user may not mount anything, not even in a name space of its own")
    build(options)
    command = [str(part) for part in (sys.executable, ROOT / "build_engines.py", "--voice", options.voice)]
    command += ["--engine", engine, "--window", "40", "--f0-floor", "400"]
    output = tmp_path / "small"
    output.mkdir()
    kib = pages(options.output) + 48 if limit == "disk" else 64  # a new model is larger, and written first
    shell = LIMITED[limit][0].format(kib=kib, output=output, previous=options.output)
    shell += f'; "$@" && exit 9; cd {output}; find . -type f | sort > {tmp_path}/names; diff -r . {options.output}'
    done = subprocess.run(
        [*(NAMESPACE if limit == "disk" else []), "bash", "-c", shell, "bash", *command, "--output", str(output)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "nothing is published, what was there stays" in done.stderr
    pattern = rf"sifigan-{engine}/1/model\.(onnx|pt): [\d,]+ bytes do not fit: {LIMITED[limit][1]}"
    assert re.search(pattern, done.stderr), done.stderr
    assert set((tmp_path / "names").read_text().split()) == {f"./{name}" for name in contents(options.output)}
    assert openvino_engines(options.output) == exports
