"""The ways in which a request may bring an utterance: as features, or as the tensors of the older bare engines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .names import BAP, F0, F0_FACTOR, MCEP, REPAIR, SAMPLES, SEED
from .older_tensors import EXCITATION, FACTORS, FEATURES, preprocess_tensors
from .pipeline import preprocess
from .repair import Report
from .settings import Settings
from .windows import Windows

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Interface:
    """One way to ask for an utterance."""

    function: Callable[..., Windows]
    arguments: Mapping[str, str]
    """Input tensors, with the arguments of the function that they are."""
    timed: str
    """An input whose last axis is the frames."""

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
    Interface(preprocess, {name: name for name in (F0, MCEP, BAP, F0_FACTOR, SEED, REPAIR)}, F0),
    Interface(
        preprocess_tensors,
        {EXCITATION: "excitation", FEATURES: "features", FACTORS: "factors", REPAIR: REPAIR},
        FEATURES,
    ),
)


def interface_of(inputs: Collection[str]) -> Interface:
    """Return the interface of a model with these inputs."""
    return next(interface for interface in INTERFACES if set(interface.arguments) == set(inputs))
