"""One request of the fuzzer: what is sent and which answers are right."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.fuzz.call import Call
from benchmarks.fuzz.wire import Wire
from benchmarks.tracks import track_request

Random = np.random.Generator
F0_HZ = 300.0


class Expected(enum.Enum):
    """Which answers are right."""

    GOOD = "the audio that came before the fuzzing"
    VALID = "finite audio of its length"
    REFUSED = "an error of the client's class"
    EITHER = "one of the two"
    ANSWERED = "any answer but an error of the server's class"


@dataclass(frozen=True)
class Case:
    """What is sent and what must come back."""

    wire: Wire
    expected: Expected
    frames: int = 0
    """Length of the utterance, if it gets audio."""
    broken: bool = False
    """Whether it breaks the protocol or its connection, so that closing the connection is an answer."""
    good: int | None = None
    """Which of the good requests it is."""
    note: str = ""
    """What is special, for the report."""


@dataclass(frozen=True)
class World:
    """What requests are made of."""

    longest: int = 200
    """Frames of the longest utterance."""
    inner: tuple[dict[str, Any], ...] = field(default=())
    """Configurations of the other models, as the server tells them."""

    def arrays(self, frames: int, random: Random | None = None) -> dict[str, npt.NDArray[Any]]:
        """Return the tensors of a good request; drawn: with options, and another pitch."""
        request = track_request("300 Hz", frames, F0_HZ)
        arrays: dict[str, npt.NDArray[Any]] = dict(vars(request))
        if random is not None:
            arrays["f0"] = (request.f0 * random.uniform(0.8, 3.0)).astype(np.float32)
            arrays["f0"][random.random(frames) < 0.2] = 0.0
            if random.random() < 0.5:
                arrays["f0_factor"] = random.uniform(0.9, 1.5, 1).astype(np.float32)
            if random.random() < 0.5:
                arrays["seed"] = random.integers(0, 2**63 - 1, 1)
            if random.random() < 0.3:
                arrays["repair"] = random.random(1) < 0.5
        return arrays

    def call(self, random: Random, **rest: Any) -> Call:
        """Draw a request that is right, with all options."""
        arrays = self.arrays(int(random.integers(1, self.longest + 1)))
        arrays["f0_factor"], arrays["seed"] = np.ones(1, np.float32), np.zeros(1, np.int64)
        return Call.of(arrays, **rest)


Maker = Callable[[Random, World], Case]
Kinds = dict[str, tuple[float, Maker]]
"""By name: how often, and what makes one."""


def pick(random: Random, options: list[Any] | tuple[Any, ...]) -> Any:
    """Draw one, of whatever type."""
    return options[int(random.integers(len(options)))]
