"""The calls that a fleet of servers gets: when they come and how long they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sifigan_triton.features.requests import measurement_file, read_requests
from sifigan_triton.files import read_at_most

MAX_BYTES = 2**26
"""Largest file of lengths, in bytes."""
P95 = 1.6448536269514722
"""Standard deviations from the median of a normal distribution to its 95th percentile."""
Lengths = npt.NDArray[np.float64]
"""Lengths of utterances in seconds of audio, each as likely as the others."""


def read_lengths(path: Path) -> Lengths:
    """Read a file of lengths: seconds of audio, one a line.

    Raises:
        ValueError: naming the file and the line.
        OSError: if it cannot be read.

    """
    found = []
    try:
        text = read_at_most(path, MAX_BYTES).decode()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            seconds = float(line)
        except ValueError:
            seconds = -1.0
        if not 0.0 < seconds < 1e5:
            raise ValueError(f"{path}, line {number}: {line[:40]!r}, expected the length of an utterance in seconds")
        found.append(seconds)
    if not found:
        raise ValueError(f"{path} is empty, expected the lengths of utterances in seconds, one a line")
    return np.array(found)


def log_normal(median_s: float, p95_s: float, seed: int) -> Lengths:
    """Draw lengths whose logarithm is normally distributed.

    Args:
        median_s: seconds that half of the utterances do not reach.
        p95_s: seconds that one in twenty exceeds.
        seed: seed of the draw.

    Raises:
        ValueError: if the second is not above the first.

    """
    if not 0.0 < median_s < p95_s:
        raise ValueError(
            f"the median length is {median_s:g} s and the 95th percentile {p95_s:g} s: expected a longer one"
        )
    sigma = np.log(p95_s / median_s) / P95
    return np.asarray(median_s * np.exp(sigma * np.random.default_rng(seed).standard_normal(20_000)))


def shipped_lengths(frame_s: float) -> Lengths:
    """Return the lengths of the requests in `measurement_data/`, where nothing is known about one's own."""
    names = ("short", "frames-627", "several", "long")
    requests = [each for name in names for each in read_requests(measurement_file(f"{name}.json"))]
    return np.array([request.f0.size * frame_s for request in requests])


@dataclass(frozen=True, eq=False)
class Traffic:
    """Calls, in the order in which they come."""

    arrivals: npt.NDArray[np.float64]
    """When each comes, in seconds from 0."""
    frames: npt.NDArray[np.int64]
    """How long each is."""

    @classmethod
    def poisson(cls, rate: float, lengths: Lengths, frame_s: float, count: int, seed: int) -> Traffic:
        """Draw calls that come at random moments, whatever happens to the earlier ones.

        Args:
            rate: calls a second, on average.
            lengths: their lengths in seconds, each as likely.
            frame_s: seconds of a frame.
            count: how many calls.
            seed: seed of the draw.

        """
        random = np.random.default_rng(seed)
        arrivals = np.cumsum(random.exponential(1.0 / rate, count))
        return cls(arrivals, to_frames(random.choice(lengths, count), frame_s))

    def first(self, seconds: float) -> Traffic:
        """Return the calls that come within so many seconds."""
        count = int(np.searchsorted(self.arrivals, seconds))
        return Traffic(self.arrivals[:count], self.frames[:count])


def to_frames(seconds: Lengths, frame_s: float) -> npt.NDArray[np.int64]:
    """Return lengths in whole frames, at least one."""
    return np.asarray(np.maximum(np.rint(seconds / frame_s), 1), np.int64)
