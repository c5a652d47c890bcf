"""What is to be made of a corpus, and by which worker."""

from __future__ import annotations

import os
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from sifigan_triton.bulk.corpus import LEFTOVER_S, Item, distinct, find_items, is_whole, remove_leftovers, share
from sifigan_triton.features.audio import write_audio
from sifigan_triton.files import hidden_beside


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_the_structure_of_the_corpus_is_kept(tmp_path: Path) -> None:
    corpus = touch(tmp_path / "in", "a.npz", "b/c.wav", "b/d/e.FLAC", "b/readme.txt", "b/v1.2.npz")
    items = find_items(corpus, tmp_path / "out", ".flac")
    made = {str(item.target.relative_to(tmp_path / "out")): item.is_recording for item in items}
    assert made == {"a.flac": False, "b/c.flac": True, "b/d/e.flac": True, "b/v1.2.flac": False}


def test_two_sources_of_one_target_are_refused(tmp_path: Path) -> None:
    corpus = touch(tmp_path / "in", "b/c.wav", "b/c.npz")
    with pytest.raises(ValueError, match=r"c.npz and .*c.wav would both become .*out/b/c.wav: rename one"):
        find_items(corpus, tmp_path / "out", ".wav")
    with pytest.raises(ValueError, match="would both become"):
        distinct([Item(Path("x/a.wav"), Path("a.wav"), True), Item(Path("y/a.wav"), Path("a.wav"), True)])


@pytest.mark.parametrize("output", ["in", "in/out", "."])
def test_folders_within_one_another_are_refused(tmp_path: Path, output: str) -> None:
    corpus = touch(tmp_path / "in", "a.wav")
    with pytest.raises(ValueError, match="lie in one another"):
        find_items(corpus, tmp_path / output, ".wav")


def test_a_corpus_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no folder: expected one with feature files"):
        find_items(tmp_path / "in", tmp_path / "out", ".wav")
    with pytest.raises(ValueError, match=r"holds no files that end in .npz"):
        find_items(touch(tmp_path / "in", "a.txt"), tmp_path / "out", ".wav")


def test_shares_are_all_of_it_and_stay_when_the_corpus_grows(tmp_path: Path) -> None:
    corpus, output = touch(tmp_path / "in", *(f"{k}.npz" for k in range(100))), tmp_path / "out"
    items = find_items(corpus, output, ".wav")
    shares = [share(items, output, worker, 3) for worker in range(3)]
    assert sorted(chain(*shares), key=lambda item: item.target) == sorted(items, key=lambda item: item.target)
    assert min(map(len, shares)) > 15
    touch(corpus, *(f"more-{k}.npz" for k in range(50)))
    grown = find_items(corpus, output, ".wav")
    for worker, before in enumerate(shares):
        assert set(before) < set(share(grown, output, worker, 3))


@pytest.mark.parametrize("worker", [-1, 2])
def test_a_worker_that_is_none_is_refused(tmp_path: Path, worker: int) -> None:
    with pytest.raises(ValueError, match=f"worker {worker} of 2, expected one from 0 to 1"):
        share([], tmp_path, worker, 2)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_audio_that_is_cut_is_not_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_audio(path, np.random.default_rng(0).uniform(-0.5, 0.5, 20_000), 24000)
    assert is_whole(path)
    data = path.read_bytes()
    for length in (0, 4, 20, len(data) // 2, len(data) - 100):
        path.write_bytes(data[:length])
        assert not is_whole(path), length
    assert not is_whole(tmp_path / "none.wav")


def test_only_old_unfinished_files_are_removed(tmp_path: Path) -> None:
    target = tmp_path / "a" / "x.wav"
    old, fresh, other = hidden_beside(target), hidden_beside(target), target.with_name(".x.tmp")
    target.parent.mkdir()
    for path in (target, old, fresh, other):
        path.touch()
        os.utime(path, (time.time() - 2 * LEFTOVER_S,) * 2)
    fresh.touch()
    remove_leftovers(tmp_path)
    assert {path for path in target.parent.iterdir()} == {target, fresh, other}
