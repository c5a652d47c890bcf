"""The ways in which a request may bring an utterance: as features, or as the tensors of the older bare engines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .names import BAP, F0, F0_FACTOR, MCEP, REPAIR, SAMPLES, SEED
from .older_tensors import EXCITATION, FACTORS, FEATURES, check_older_tensors, preprocess_tensors
from .pipeline import preprocess
from .repair import Report
from .settings import Settings
from .validate import check_tensors
from .windows import Windows

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Interface:
    """One way to ask for an utterance."""

    function: Callable[..., Windows]
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
            By name: the fields of `Windows`, and `samples` int64 (1,).

        Raises:
            RequestError: naming the tensor, what was expected, what was got and the first bad frame.

        """
        given = {argument: tensors.get(name) for name, argument in self.arguments.items()}
        windows = self.function(**given, settings=settings, report=report)
        samples = tensors[self.timed].shape[-1] * settings.voice.hop_size
        return {**vars(windows), SAMPLES: np.array([samples], np.int64)}


INTERFACES = (
    Interface(
        preprocess,
        check_tensors,
        {name: name for name in (F0, MCEP, BAP)},
        {name: name for name in (F0_FACTOR, SEED, REPAIR)},
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
