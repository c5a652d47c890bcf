"""Constants of one trained voice, as `voices/<name>/voice.json` holds them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from math import prod
from pathlib import Path
from typing import Any, Literal

from . import limits

PdIndexing = Literal["reflect", "zero"]
VOICE_FILE = "voice.json"
"""File of the constants, in a voice's folder and beside the models that need them."""


class VoiceError(ValueError):
    """A voice file is missing, malformed or inconsistent."""


@dataclass(frozen=True)
class GeneratorConfig:
    """Hyperparameters of the SiFi-GAN generator (arXiv 2210.15533), under the names of the public training code."""

    in_channels: int = 43
    channels: int = 512
    kernel_size: int = 7
    upsample_scales: tuple[int, ...] = (5, 4, 3, 2)
    source_dilations: tuple[tuple[int, ...], ...] = ((1,), (1, 2), (1, 2, 4), (1, 2, 4, 8))
    source_additional_convs: bool = True
    filter_kernel_sizes: tuple[int, ...] = (3, 5, 7)
    filter_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    filter_additional_convs: bool = False
    share_upsamples: bool = False
    share_downsamples: bool = False
    bias: bool = True
    negative_slope: float = 0.1

    def __post_init__(self) -> None:
        """Check that the hyperparameters fit each other.

        Raises:
            VoiceError: naming the hyperparameter, what was expected and what was got.

        """
        self._check_limits()
        scales = len(self.upsample_scales)
        if len(self.source_dilations) != scales:
            raise VoiceError(
                f"source_dilations has {len(self.source_dilations)} entries, expected one for each of the "
                f"{scales} upsample_scales"
            )
        if len(self.filter_dilations) != len(self.filter_kernel_sizes):
            raise VoiceError(
                f"filter_dilations has {len(self.filter_dilations)} entries, expected one for each of the "
                f"{len(self.filter_kernel_sizes)} filter_kernel_sizes"
            )
        if self.channels % 2**scales:
            raise VoiceError(f"channels is {self.channels}, expected a multiple of {2**scales} (halved at every scale)")
        for size in (self.kernel_size, *self.filter_kernel_sizes):
            if size % 2 == 0:
                raise VoiceError(f"kernel size is {size}, expected an odd number")

    def _check_limits(self) -> None:
        """Refuse what no network can be made of, before one is."""
        for key, highest in (
            ("in_channels", limits.MAX_FEATURES),
            ("channels", limits.MAX_CHANNELS),
            ("kernel_size", limits.MAX_KERNEL),
        ):
            _refuse(key, limits.whole_fault(getattr(self, key), 1, highest))
        for key, highest in (("upsample_scales", limits.MAX_SCALE), ("filter_kernel_sizes", limits.MAX_KERNEL)):
            _refuse(key, limits.wholes_fault(getattr(self, key), highest))
        for key in ("source_dilations", "filter_dilations"):
            _refuse(key, _dilations_fault(getattr(self, key)))
        for key in (f.name for f in fields(self) if f.type == "bool"):
            value = getattr(self, key)
            _refuse(key, None if isinstance(value, bool) else f"is {limits.shown(value)}, expected true or false")
        _refuse("negative_slope", limits.number_fault(self.negative_slope, 0.0, 1.0))
        _refuse("upsample_scales: the hop", limits.whole_fault(self.hop_size, 1, limits.MAX_HOP))

    @property
    def hop_size(self) -> int:
        """Samples of output a frame."""
        return prod(self.upsample_scales)

    @property
    def rates(self) -> tuple[int, ...]:
        """Samples a frame after each up-sampling stage: (5, 20, 60, 120) by default."""
        return tuple(prod(self.upsample_scales[: i + 1]) for i in range(len(self.upsample_scales)))

    @property
    def pitch_dependent_convs(self) -> tuple[tuple[int, int], ...]:
        """(stage, dilation) of each pitch-dependent convolution, in the order of the rows of `offsets`."""
        return tuple((stage, d) for stage, dilations in enumerate(self.source_dilations) for d in dilations)


@dataclass(frozen=True)
class AnalysisSettings:
    """How the features of this voice are extracted with WORLD and SPTK."""

    f0_floor: float = 71.0
    """Lowest F0 that the analysis looks for, in Hz."""
    f0_ceiling: float = 840.0
    """Highest F0 that the analysis looks for, in Hz."""
    mcep_order: int = 39
    """Order of the mel-cepstrum (one coefficient more than the order)."""
    all_pass_alpha: float = 0.466
    """All-pass constant of the mel-cepstrum (0.466 approximates the mel scale at 24 kHz)."""
    highpass_hz: float = 70.0
    """Cut-off of the high-pass filter in front of the analysis, in Hz; 0 switches it off."""

    def __post_init__(self) -> None:
        """Check that WORLD and SPTK can work with the settings.

        Raises:
            VoiceError: naming the setting, what was expected and what was got.

        """
        _refuse("f0_floor", limits.number_fault(self.f0_floor, *limits.F0_HZ))
        _refuse("f0_ceiling", limits.number_fault(self.f0_ceiling, self.f0_floor, limits.F0_HZ[1]))
        _refuse("mcep_order", limits.whole_fault(self.mcep_order, 0, limits.MAX_FEATURES - 1))
        _refuse("all_pass_alpha", limits.number_fault(self.all_pass_alpha, -limits.MAX_ALPHA, limits.MAX_ALPHA))
        _refuse("highpass_hz", limits.number_fault(self.highpass_hz, 0.0, limits.MAX_HIGHPASS_HZ))


@dataclass(frozen=True)
class Statistics:
    """Mean and scale of one feature over the training data: normalised = (feature - mean) / scale."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check lengths and scales.

        Raises:
            VoiceError: if the lengths differ or are too large, or a value is not finite, not positive or out of range.

        """
        for key in ("mean", "scale"):
            values = getattr(self, key)
            if not isinstance(values, tuple) or not 1 <= len(values) <= limits.MAX_FEATURES:
                got = f"has {len(values):,} values" if isinstance(values, tuple) else f"is {limits.shown(values)}"
                raise VoiceError(f"{key} {got}, expected a list of 1 to {limits.MAX_FEATURES:,} numbers")
        if len(self.mean) != len(self.scale):
            raise VoiceError(f"statistics have {len(self.mean)} means and {len(self.scale)} scales")
        for index, (mean, scale) in enumerate(zip(self.mean, self.scale, strict=True)):
            _refuse(f"mean[{index}]", limits.number_fault(mean, -limits.MAX_MEAN, limits.MAX_MEAN))
            if isinstance(scale, int | float) and not scale > 0.0:
                raise VoiceError(f"statistics hold a scale that is not positive: scale[{index}] is {scale}")
            _refuse(f"scale[{index}]", limits.number_fault(scale, *limits.SCALES))


@dataclass(frozen=True)
class Voice:
    """All that belongs to one trained generator, except its weights."""

    name: str
    mcep: Statistics
    bap: Statistics
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    analysis: AnalysisSettings = field(default_factory=AnalysisSettings)
    sample_rate: int = 24000
    dense_factors: tuple[float, ...] = (0.5, 1.0, 4.0, 8.0)
    """Taps of a pitch-dependent convolution in one pitch period, one value a scale."""
    pd_indexing: PdIndexing = "reflect"
    """Ends of the pitch-dependent convolutions: `reflect` (public code since March 2023) or `zero` (that of 2022)."""
    sine_amp: float = 0.1
    noise_amp: float = 0.003
    provenance: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the constants fit each other.

        Raises:
            VoiceError: naming the constant, what was expected and what was got.

        """
        if self.pd_indexing not in ("reflect", "zero"):
            raise VoiceError(f"pd_indexing is {limits.shown(self.pd_indexing)}, expected 'reflect' or 'zero'")
        self._check_limits()
        if len(self.dense_factors) != len(self.generator.upsample_scales):
            raise VoiceError(
                f"dense_factors has {len(self.dense_factors)} values, expected one for each of the "
                f"{len(self.generator.upsample_scales)} upsample_scales"
            )
        width = len(self.mcep.mean) + len(self.bap.mean)
        if width != self.generator.in_channels:
            raise VoiceError(
                f"statistics of mcep ({len(self.mcep.mean)}) and bap ({len(self.bap.mean)}) make {width} features, "
                f"the generator expects {self.generator.in_channels}"
            )

    def _check_limits(self) -> None:
        """Refuse constants that no sound can be made with."""
        if not isinstance(self.provenance, dict):
            raise VoiceError(f"provenance is {limits.shown(self.provenance)}, expected an object")
        origin = [(f"provenance {limits.shown(key)}", text) for key, text in self.provenance.items()]
        for key, text in [("name", self.name), *origin]:
            if not isinstance(text, str) or len(text) > limits.MAX_TEXT:
                expected = f"expected a text of at most {limits.MAX_TEXT:,} characters"
                raise VoiceError(f"{key} is {limits.shown(text)}, {expected}")
        _refuse("sample_rate", limits.whole_fault(self.sample_rate, *limits.SAMPLE_RATES))
        if not isinstance(self.dense_factors, tuple):
            raise VoiceError(f"dense_factors is {limits.shown(self.dense_factors)}, expected a list of numbers")
        for index, factor in enumerate(self.dense_factors):
            _refuse(f"dense_factors[{index}]", limits.number_fault(factor, *limits.DENSE_FACTORS))
        for key in ("sine_amp", "noise_amp"):
            _refuse(key, limits.number_fault(getattr(self, key), 0.0, 1.0))

    @property
    def hop_size(self) -> int:
        """Samples a frame."""
        return self.generator.hop_size

    @property
    def frame_period_ms(self) -> float:
        """Milliseconds a frame."""
        return 1000.0 * self.hop_size / self.sample_rate

    def to_json(self) -> str:
        """Return the text of `voice.json`."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Voice:
        """Read the text of a `voice.json`.

        Raises:
            VoiceError: if the text is no JSON object or a key is unknown, missing or inconsistent.

        """
        try:
            values = json.loads(text)
        except ValueError as error:  # also a number of more digits than Python reads
            raise VoiceError(f"not valid JSON: {error}") from None
        except RecursionError:
            raise VoiceError("not the JSON of a voice: lists or objects are nested too deeply") from None
        nested = {"generator": GeneratorConfig, "analysis": AnalysisSettings, "mcep": Statistics, "bap": Statistics}
        for key, kind in nested.items():
            if isinstance(values, dict) and key in values:
                values[key] = _construct(kind, values[key], key)
        voice: Voice = _construct(cls, values, "voice")
        return voice

    @classmethod
    def load(cls, path: Path) -> Voice:
        """Read a `voice.json` file.

        Raises:
            VoiceError: naming the file, if it cannot be read or does not describe a voice.

        """
        try:
            with path.open("rb") as file:
                data = file.read(limits.MAX_VOICE_BYTES + 1)
            if len(data) > limits.MAX_VOICE_BYTES:
                raise VoiceError(f"has more than {limits.MAX_VOICE_BYTES:,} bytes, expected the constants of a voice")
            return cls.from_json(data.decode())
        except OSError as error:
            raise VoiceError(f"{path}: {error.strerror}") from None
        except (VoiceError, UnicodeDecodeError) as error:
            raise VoiceError(f"{path}: {error}") from None


def _construct(kind: type[Any], values: Any, where: str) -> Any:
    """Build the dataclass `kind` from a JSON object, lists becoming tuples."""
    if not isinstance(values, dict):
        raise VoiceError(f"{where} is {type(values).__name__}, expected an object")
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise VoiceError(f"{where} has unknown keys {limits.shown(unknown)}, expected some of {sorted(known)}")
    try:
        return kind(**{key: _tuples(value) for key, value in values.items()})
    except RecursionError:
        raise VoiceError(f"{where}: lists are nested too deeply") from None
    except TypeError as error:
        raise VoiceError(f"{where}: {error}") from None
    except VoiceError as error:
        raise VoiceError(f"{where}: {error}" if where != "voice" else str(error)) from None


def _refuse(key: str, fault: str | None) -> None:
    """Raise what a check found."""
    if fault is not None:
        raise VoiceError(f"{key} {fault}")


def _dilations_fault(value: Any) -> str | None:
    """Say what is wrong with what should be a short tuple of short tuples of dilations."""
    if not isinstance(value, tuple):
        return f"is {limits.shown(value)}, expected a list of lists of whole numbers"
    if len(value) > limits.MAX_LAYERS:
        return f"has {len(value):,} entries, expected at most {limits.MAX_LAYERS}"
    faults = (limits.wholes_fault(entry, limits.MAX_DILATION) for entry in value)
    return next((fault for fault in faults if fault), None)


def _tuples(value: Any) -> Any:
    """Turn lists into tuples, at every depth."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
