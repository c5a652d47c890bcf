"""The ways in which a request may bring an utterance: as features, or as the tensors of the older bare engines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .names import (
    BAP,
    F0,
    F0_FACTOR,
    FIRST_SAMPLE,
    MCEP,
    NEXT_PHASE,
    PHASE,
    RANGE,
    REPAIR,
    SAMPLES,
    SEED,
    VOICED_AROUND,
    WANTED,
)
from .older_tensors import EXCITATION, FACTORS, FEATURES, check_older_tensors, preprocess_tensors
from .pipeline import Prepared, prepare
from .ranges import Range
from .repair import Report
from .settings import Settings
from .validate import check_tensors
from .windows import Windows

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Interface:
    """One way to ask for an utterance."""

    function: Callable[..., Prepared | Windows]
    """One that knows no ranges returns windows: all of the utterance is wanted."""
    check: Callable[..., object]
    """Takes the required arguments: refuses what can be refused without reading a value."""
    required: Mapping[str, str]
    """Input tensors that a request must have, with the arguments of both functions that they are."""
    optional: Mapping[str, str]
    """Further ones, with arguments of `function`."""
    timed: str
    """An input whose last axis is the frames."""

    @property
    def arguments(self) -> dict[str, str]:
        """All input tensors, with the arguments that they are."""
        return {**self.required, **self.optional}

    def refuse_early(self, tensors: Tensors, settings: Settings) -> None:
        """Refuse a request that lacks a tensor, or has one that is too long or does not fit, before it waits.

        Raises:
            RequestError: naming the tensor, what was expected and what was got.

        """
        given = {argument: tensors.get(name) for name, argument in self.required.items()}
        self.check(**given, settings=settings)

    def outputs(self, tensors: Tensors, settings: Settings, report: Report | None = None) -> Tensors:
        """Turn the tensors of one request into what the engine and `postprocess` take.

        Args:
            tensors: the inputs that the request has, by name.
            settings: constants of the voice and the engine.
            report: called with what was repaired.

        Returns:
            By name: the fields of `Windows`; `wanted` int64 (n, 1); `first_sample` and `samples` int64 (1,);
            `next_phase` float64 (1,).

        Raises:
            RequestError: naming the tensor, what was expected, what was got and the first bad frame.

        """
        given = {argument: tensors.get(name) for name, argument in self.arguments.items()}
        made = self.function(**given, settings=settings, report=report)
        if isinstance(made, Windows):
            made = Prepared.of(made, Range.whole(tensors[self.timed].shape[-1]), settings)
        return {
            **vars(made.windows),
            WANTED: made.wanted,
            FIRST_SAMPLE: np.array([made.first_sample], np.int64),
            SAMPLES: np.array([made.samples], np.int64),
            NEXT_PHASE: np.array([made.next_phase], np.float64),
        }


INTERFACES = (
    Interface(
        prepare,
        check_tensors,
        {name: name for name in (F0, MCEP, BAP)},
        {name: name for name in (F0_FACTOR, SEED, REPAIR, PHASE, VOICED_AROUND)} | {RANGE: "span"},
        F0,
    ),
    Interface(
        preprocess_tensors,
        check_older_tensors,
        {EXCITATION: "excitation", FEATURES: "features", FACTORS: "factors"},
        {REPAIR: REPAIR},
        FEATURES,
    ),
)


def interface_of(inputs: Collection[str]) -> Interface:
    """Return the interface of a model with these inputs."""
    return next(interface for interface in INTERFACES if set(interface.arguments) == set(inputs))
