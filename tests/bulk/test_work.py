"""A worker makes each file once and goes on when one of them fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sifigan_triton.bulk import work
from sifigan_triton.bulk.corpus import Item
from sifigan_triton.bulk.work import Result, Wish, Worker
from sifigan_triton.client import ServerUnavailableError, SynthesisError, SynthesisTimeoutError
from sifigan_triton.features.features import Features

BUSY = ServerUnavailableError("busy", temporary=True)


class Client:
    """Answers with the seed, again and again; `before` may fail in its place."""

    def __init__(self, before: Callable[[int], None] = lambda frames: None) -> None:
        self._before, self.calls = before, 0

    def synthesize_pcm16(self, f0: Any, mcep: Any, bap: Any, factor: float, seed: int, repair: bool) -> Any:
        self.calls += 1
        self._before(f0.size)
        return np.full(f0.size * 120, seed, np.int16)


def items(folder: Path, number: int) -> list[Item]:
    """Write features of 1, 2, ... frames."""
    made = []
    for k in range(1, number + 1):
        item = Item(folder / "in" / f"{k}.npz", folder / "out" / f"{k}.wav", False)
        Features(*(np.ones(shape, np.float32) for shape in (k, (k, 40), (k, 3))), 24000, 5.0).save(item.source)
        made.append(item)
    return made


def run(client: Client, files: list[Item], wish: Wish | None = None, patience_s: float = 0.0, jobs: int = 1) -> Result:
    worker: Any = Worker(client, wish or Wish(), patience_s)  # type: ignore[arg-type]
    result: Result = worker.run(files, jobs)
    assert sum(result.fates.values()) == len(files)
    return result


def seeds(files: list[Item]) -> list[int]:
    return [int(soundfile.read(item.target, dtype="int16")[0][0]) for item in files]


def test_files_that_are_there_stay(tmp_path: Path) -> None:
    files = items(tmp_path, 5)
    assert run(Client(), files[:2], Wish(seed=1)).fates == {"made": 2, "left": 0}
    client = Client()
    result = run(client, files, Wish(seed=2), jobs=3)
    assert result.fates == {"made": 3, "there": 2, "left": 0}
    assert client.calls == 3
    assert result.audio_s == pytest.approx((3 + 4 + 5) * 0.005)
    assert seeds(files) == [1, 1, 2, 2, 2]


def test_files_are_replaced_where_that_is_wanted(tmp_path: Path) -> None:
    files = items(tmp_path, 2)
    run(Client(), files, Wish(seed=1))
    assert run(Client(), files, Wish(seed=2, replace=True)).fates == {"made": 2, "left": 0}
    assert seeds(files) == [2, 2]


def test_a_broken_file_that_is_there_is_told_and_stays(tmp_path: Path) -> None:
    files = items(tmp_path, 2)
    files[0].target.parent.mkdir()
    files[0].target.write_bytes(b"half")
    result = run(Client(), files)
    assert result.fates == {"failed": 1, "made": 1, "left": 0}
    assert "1.wav is there, and is no whole audio file: remove it" in result.errors[str(files[0].source)]
    assert files[0].target.read_bytes() == b"half"


@pytest.mark.parametrize("error", [SynthesisError("f0 is -1"), SynthesisTimeoutError("too slow")], ids=repr)
def test_one_that_fails_stops_no_other(tmp_path: Path, error: Exception) -> None:
    files = items(tmp_path, 4)
    files[3].source.write_bytes(b"no zip")

    def refuse(frames: int) -> None:
        if frames == 2:
            raise error

    result = run(Client(refuse), files)
    assert result.fates == {"made": 2, "failed": 2, "left": 0}
    assert result.errors[str(files[1].source)] == str(error)
    assert "not readable as an .npz file" in result.errors[str(files[3].source)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1.wav", "3.wav"]


def test_a_server_that_comes_back_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "PAUSE_S", 0.01)
    files, failures = items(tmp_path, 3), iter([BUSY, BUSY, None, BUSY])

    def be_away(frames: int) -> None:
        if failure := next(failures, None):
            raise failure

    assert run(Client(be_away), files, patience_s=10.0).fates == {"made": 3, "left": 0}


@pytest.mark.parametrize(
    ("failure", "patience_s"), [(BUSY, 0.05), (ServerUnavailableError("no model sifigan"), 60.0)], ids=["away", "wrong"]
)
def test_without_a_server_the_rest_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, patience_s: float
) -> None:
    monkeypatch.setattr(work, "PAUSE_S", 0.01)
    files = items(tmp_path, 20)

    def be_away(frames: int) -> None:
        if frames > 2:
            raise failure

    began = time.monotonic()
    result = run(Client(be_away), files, patience_s=patience_s, jobs=2)
    assert time.monotonic() - began < 10.0
    assert result.fates["made"] == 2
    assert result.fates["left"] == 18
    assert str(failure) in result.stopped
    assert result.errors == {}


def test_what_cannot_be_written_ends_the_work(tmp_path: Path) -> None:
    files = items(tmp_path, 3)
    (tmp_path / "out").write_text("a file where the folder should be")
    result = run(Client(), files)
    assert result.fates == {"left": 3}
    assert "1.wav cannot be written" in result.stopped


def test_of_two_workers_at_one_file_one_is_the_first(tmp_path: Path) -> None:
    """Both have the audio before either writes it, as where a pod is started anew beside the one it replaces."""
    files, both, results = items(tmp_path, 12), threading.Barrier(2, timeout=20.0), list[Result]()

    def wait(frames: int) -> None:
        both.wait()

    threads = [
        threading.Thread(target=lambda seed=seed: results.append(run(Client(wait), files, Wish(seed=seed))))
        for seed in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.fates["made"] for result in results) == 12
    assert sum(result.fates["elsewhere"] for result in results) == 12
    by_seed = {result.fates["made"] for result in results}
    assert {seeds(files).count(1), seeds(files).count(2)} == by_seed
    assert len(list((tmp_path / "out").iterdir())) == 12
