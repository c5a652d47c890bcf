"""Releases in an object store, on a real server that speaks S3: whole or not at all, whatever happens on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from sifigan_triton.cli.main import main
from sifigan_triton.server.container import read_options
from sifigan_triton.store import fetch as fetching
from sifigan_triton.store.address import Address, StoreError, read_address
from sifigan_triton.store.bucket import Bucket
from sifigan_triton.store.fetch import fetch
from sifigan_triton.store.publish import publish, roll_back
from sifigan_triton.store.release import CURRENT, RELEASE_FILE, release_key
from tests.repository.test_servable import add_voice

SECRET = "very-secret-text"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def address(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Address:
    """A prefix of its own, with nothing in it."""
    for name, value in (("ENDPOINT_URL_S3", server), ("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    import boto3

    boto3.client("s3", endpoint_url=server).create_bucket(Bucket="voices")
    return Address("voices", f"{abs(hash(request.node.name)):x}")


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a repository."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != RELEASE_FILE)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def repositories(tmp_path: Path) -> tuple[Path, Path]:
    """Two repositories that can be served and differ in one file."""
    one, two = tmp_path / "one", tmp_path / "two"
    add_voice(one, "b")
    for model in one.iterdir():
        (model / "1" / "README").write_text("one\n")  # a store has no empty folders
    shutil.copytree(one, two)
    (two / "sifigan-b" / "1" / "README").write_text("another\n")
    return one, two


def test_what_is_published_is_what_is_fetched(
    address: Address, repositories: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = repositories
    assert main(["publish", str(one), str(address)]) == 0
    first = fetch(address, tmp_path / "cache")
    assert contents(first) == contents(one)
    again = publish(one, address)
    assert (again.uploaded, again.switched) == (0, False)
    later = publish(two, address, switch=False)
    assert later.uploaded == len(later.release.files)
    assert fetch(address, tmp_path / "cache") == first
    assert publish(two, address).switched
    second = fetch(address, tmp_path / "cache")
    assert contents(second) == contents(two)
    assert contents(fetch(Address(address.bucket, address.prefix, first.name), tmp_path / "cache")) == contents(one)
    shared = next(name for name in contents(one) if not name.endswith("README"))
    assert (second / shared).stat().st_nlink > 1
    assert main(["rollback", str(address)]) == 0
    assert fetch(address, tmp_path / "other") == tmp_path / "other" / first.name
    capsys.readouterr()
    assert main(["releases", str(address)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted([first.name, second.name])
    assert [line.split()[0] for line in lines if line.endswith("current")] == [first.name]


def test_the_container_serves_the_store_and_nothing_else(
    address: Address, repositories: tuple[Path, Path], tmp_path: Path
) -> None:
    environment = {"SIFIGAN_REPOSITORY": str(address), "SIFIGAN_GPU": "no", "SIFIGAN_BAKED": str(repositories[0])}
    with pytest.raises(StoreError, match=f"there is no s3://voices/{address.prefix}/{CURRENT}: publish"):
        read_options(environment)
    publish(repositories[0], address)
    options = read_options(environment)
    assert contents(options.model_repository) == contents(repositories[0])
    publish(repositories[1], address)
    assert options.again is not None
    assert contents(options.again().model_repository) == contents(repositories[1])


class StopError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("seed", range(3))
def test_a_publish_that_is_broken_off_at_any_step_harms_nobody(
    address: Address, repositories: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    one, two = repositories
    old = publish(one, address).release.id
    real: dict[str, Callable[..., Any]] = {name: getattr(Bucket, name) for name in ("write", "replace", "stream")}
    left = [0]

    def breaking(name: str) -> Callable[..., Any]:
        def call(self: Bucket, *args: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise StopError
            return real[name](self, *args)

        return call

    for name in real:
        monkeypatch.setattr(Bucket, name, breaking(name))
    steps = 0
    while True:
        left[0] = steps
        try:
            new = publish(two, address).release.id
            break
        except StopError:
            left[0] = 10**9
            assert fetch(address, tmp_path / f"{steps}").name == old
            steps += seed + 1
    assert steps > 5
    left[0] = 10**9
    assert new != old
    assert contents(fetch(address, tmp_path / "new")) == contents(two)


def test_a_fetch_that_is_broken_off_goes_on(
    address: Address, repositories: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(repositories[0], address)
    real, left = fetching._download, [0]

    def breaking(*args: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StopError
        real(*args)

    monkeypatch.setattr(fetching, "_download", breaking)
    for steps in (0, 1, 2):
        left[0] = steps
        with pytest.raises(StopError):
            fetch(address, tmp_path / "cache")
        assert not [path for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".")]
    left[0] = 10**9
    assert contents(fetch(address, tmp_path / "cache")) == contents(repositories[0])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"", "has 0 bytes, expected"),
        (b"x" * 10**6, "has more than"),
        (None, "has the SHA-256"),
    ],
    ids=["truncated", "longer", "other-bytes"],
)
def test_a_damaged_object_is_refused_by_name(
    address: Address, repositories: tuple[Path, Path], tmp_path: Path, damage: bytes | None, message: str
) -> None:
    release = publish(repositories[0], address).release
    file = max(release.files, key=lambda file: file.size)
    bucket = Bucket(address)
    key = release_key(release.id, file.path)
    bucket.write(key, damage if damage is not None else b"y" * file.size)
    with pytest.raises(StoreError, match=message) as caught:
        fetch(address, tmp_path / "cache")
    assert file.path in str(caught.value)
    assert not (tmp_path / "cache" / release.id).exists()
    assert publish(repositories[0], address).uploaded == (1 if damage is not None else 0)  # mended in either case
    assert contents(fetch(address, tmp_path / "cache")) == contents(repositories[0])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"../../etc/passwd": {"size": 1, "sha256": "0" * 64}}, "cannot be stored"),
        ({"m/1/x": {"size": 2**60, "sha256": "0" * 64}}, "expected 0 to"),
        ({"m/1/x": {"size": 1, "sha256": "no"}}, "expected a SHA-256"),
        ({f"m/1/{number}": {"size": 1, "sha256": "0" * 64} for number in range(10_001)}, "expected at most 10,000"),
        ({"m/1/x": {"size": 1, "sha256": "0" * 64}}, "is the list of a release"),
        ([], "is no list of a release"),
    ],
    ids=["path", "size", "hash", "count", "other", "list"],
)
def test_a_list_of_a_stranger_is_refused(
    address: Address, repositories: tuple[Path, Path], tmp_path: Path, files: object, message: str
) -> None:
    release = publish(repositories[0], address).release
    Bucket(address).write(release_key(release.id, RELEASE_FILE), json.dumps({"files": files}).encode())
    with pytest.raises(StoreError, match=message) as caught:
        fetch(address, tmp_path / "cache")
    assert len(str(caught.value)) < 500
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_what_cannot_be_switched_to_is_refused(address: Address, repositories: tuple[Path, Path]) -> None:
    one, _ = repositories
    release = publish(one, address).release.id
    with pytest.raises(StoreError, match="names no release before"):
        roll_back(address)
    with pytest.raises(StoreError, match="the release was not published"):
        roll_back(Address(address.bucket, address.prefix, "0" * 16))
    Bucket(address).write(CURRENT, b"{}")
    with pytest.raises(StoreError, match="does not name a release: switch to one"):
        fetch(address, one.parent / "cache")
    assert roll_back(Address(address.bucket, address.prefix, release)) == release


def test_messages_hold_no_secret(address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://user:{SECRET}@127.0.0.1:1")
    monkeypatch.setattr("sifigan_triton.store.bucket._RETRIES", 0)
    with pytest.raises(StoreError) as caught:
        fetch(address, tmp_path / "cache")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["s3:/a/b", "gs://voices/a", "s3://user:pw@voices/a", "s3://voices/../a", "s3://voices/a@current"]
)
def test_addresses_are_checked(text: str) -> None:
    with pytest.raises(ValueError, match="expected s3://bucket/prefix") as caught:
        read_address(text)
    assert ":pw" not in str(caught.value)
