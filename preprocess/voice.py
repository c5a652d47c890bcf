"""Constants of one trained voice, as `voices/<name>/voice.json` holds them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from . import limits
from .generator_config import GeneratorConfig as GeneratorConfig
from .limits import VoiceError as VoiceError
from .limits import refuse

PdIndexing = Literal["reflect", "zero"]
VOICE_FILE = "voice.json"
"""File of the constants, in a voice's folder and beside the models that need them."""


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
        refuse("f0_floor", limits.number_fault(self.f0_floor, *limits.F0_HZ))
        refuse("f0_ceiling", limits.number_fault(self.f0_ceiling, self.f0_floor, limits.F0_HZ[1]))
        refuse("mcep_order", limits.whole_fault(self.mcep_order, 0, limits.MAX_FEATURES - 1))
        refuse("all_pass_alpha", limits.number_fault(self.all_pass_alpha, -limits.MAX_ALPHA, limits.MAX_ALPHA))
        refuse("highpass_hz", limits.number_fault(self.highpass_hz, 0.0, limits.MAX_HIGHPASS_HZ))


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
            refuse(f"mean[{index}]", limits.number_fault(mean, -limits.MAX_MEAN, limits.MAX_MEAN))
            if isinstance(scale, int | float) and not scale > 0.0:
                raise VoiceError(f"statistics hold a scale that is not positive: scale[{index}] is {scale}")
            refuse(f"scale[{index}]", limits.number_fault(scale, *limits.SCALES))


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
        refuse("sample_rate", limits.whole_fault(self.sample_rate, *limits.SAMPLE_RATES))
        if not isinstance(self.dense_factors, tuple):
            raise VoiceError(f"dense_factors is {limits.shown(self.dense_factors)}, expected a list of numbers")
        for index, factor in enumerate(self.dense_factors):
            refuse(f"dense_factors[{index}]", limits.number_fault(factor, *limits.DENSE_FACTORS))
        for key in ("sine_amp", "noise_amp"):
            refuse(key, limits.number_fault(getattr(self, key), 0.0, 1.0))

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


def _tuples(value: Any) -> Any:
    """Turn lists into tuples, at every depth."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
