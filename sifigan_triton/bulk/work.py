"""A worker: it makes files, several at a time, and goes on when one of them fails."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from preprocess.voice import Voice
from sifigan_triton.bulk.corpus import Item, is_whole
from sifigan_triton.client import ServerUnavailableError, SifiganClient, SynthesisError, SynthesisTimeoutError
from sifigan_triton.features.audio import write_audio
from sifigan_triton.features.features import Features

PAUSE_S = 5.0
"""Longest pause after a call that was given up because there was no server, or one too busy."""
Fate = Literal["made", "there", "elsewhere", "failed", "left"]
"""Of a file: made now; there already; made by another worker meanwhile; not to be made; not tried."""


@dataclass(frozen=True)
class Wish:
    """How files are to sound, and what happens to those that are there."""

    f0_factor: float = 1.0
    seed: int = 0
    repair: bool = False
    voice: Voice | None = None
    """Whose analysis settings recordings are analysed with; None: the usual ones."""
    replace: bool = False
    """Whether files that are there are made anew; else they stay, whatever made them."""


@dataclass
class Result:
    """What came of the files."""

    fates: Counter[Fate] = field(default_factory=Counter)
    errors: dict[str, str] = field(default_factory=dict)
    """The reason for each source that failed."""
    audio_s: float = 0.0
    """Seconds of audio that were made."""
    stopped: str = ""
    """Why the work was given up before its end; empty if it was not."""

    def as_dict(self) -> dict[str, Any]:
        """Return the counts, for JSON."""
        counts = {str(fate): self.fates[fate] for fate in get_args(Fate)}
        return {**counts, "audio_s": round(self.audio_s, 3), "stopped": self.stopped}


class Worker:
    """Makes files with a client; its threads take one file after the other."""

    def __init__(self, client: SifiganClient, wish: Wish, patience_s: float) -> None:
        """Prepare.

        Args:
            client: connection to the server; it makes a failed call again by its own rules.
            wish: how files are to sound.
            patience_s: how long after the last answer calls are made, in seconds, while no server takes them.

        """
        self._client, self._wish, self._patience_s = client, wish, patience_s
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._answered = time.monotonic()

    def run(self, items: Sequence[Item], jobs: int, done: Callable[[], object] = lambda: None) -> Result:
        """Make files.

        Args:
            items: the files.
            jobs: how many at a time.
            done: called after each of them.

        """
        result, waiting = Result(), iter(items)
        self._answered = time.monotonic()
        threads = [threading.Thread(target=self._work, args=(waiting, result, done), daemon=True) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        result.fates["left"] += sum(1 for _ in waiting)
        return result

    def _work(self, waiting: Iterator[Item], result: Result, done: Callable[[], object]) -> None:
        while not self._stop.is_set():
            with self._lock:
                item = next(waiting, None)
            if item is None:
                return
            fate, seconds, reason = self._attempt(item)
            with self._lock:
                result.fates[fate] += 1
                result.audio_s += seconds
                if fate == "failed":
                    result.errors[str(item.source)] = reason
                if fate == "left":
                    result.stopped = result.stopped or reason
                    self._stop.set()
                done()

    def _attempt(self, item: Item) -> tuple[Fate, float, str]:
        """Make one file; return its fate, its seconds of audio, and what went wrong."""
        if not self._wish.replace and item.target.exists():
            if is_whole(item.target):
                return "there", 0.0, ""
            return "failed", 0.0, f"{item.target} is there, and is no whole audio file: remove it, then run this again"
        try:
            features = self._features(item)
            samples = self._synthesize(features)
        except ServerUnavailableError as error:
            return "left", 0.0, str(error)
        except (SynthesisError, SynthesisTimeoutError, ValueError, OSError) as error:
            return "failed", 0.0, str(error)
        try:
            write_audio(item.target, samples, features.sample_rate, replace=self._wish.replace)
        except FileExistsError:
            return "elsewhere", 0.0, ""
        except OSError as error:  # what one file meets here, all will
            return "left", 0.0, f"{item.target} cannot be written: {error}"
        return "made", features.seconds, ""

    def _features(self, item: Item) -> Features:
        if not item.is_recording:
            return Features.load(item.source)
        from sifigan_triton.features.analysis import analyze_recording  # feature files need no WORLD

        return analyze_recording(item.source, self._wish.voice)

    def _synthesize(self, features: Features) -> Any:
        """Ask the server, again and again while it cannot be asked, until the patience is over."""
        wish = self._wish
        for attempt in itertools.count(1):
            try:
                samples = self._client.synthesize_pcm16(
                    features.f0, features.mcep, features.bap, wish.f0_factor, wish.seed, wish.repair
                )
            except ServerUnavailableError as error:
                waited_s = time.monotonic() - self._answered
                if not error.temporary or waited_s > self._patience_s:
                    error.add_note(f"given up after {waited_s:.0f} s without an answer")
                    raise
                if self._stop.wait(random.uniform(0.0, min(PAUSE_S, float(attempt)))):
                    raise
                continue
            self._answered = time.monotonic()
            return samples
        raise AssertionError("the count has no end")
