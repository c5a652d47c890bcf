"""The waveform that the generator is asked for: the recording, with all that its features leave to chance redrawn.

Features tell a spectral envelope, F0 and how much of each band is noise. The phases of the harmonics and the draw of
the noise they do not tell: a good part of the distance between two spectrograms with equal features, at short windows
and in noise most of it, is chance, and a generator that is trained on it learns the safest guess: noise that is too
weak and too regular, harmonics that are too weak. But the generator is given a sine and a noise, and any phases and any
draw will do. So the target takes the phases of that sine and that very noise, through the envelope of the recording: a
function of what the generator is given, which it can match at any resolution, and which exists at any pitch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyworld

from preprocess import Voice
from sifigan_triton.features.melcepstrum import frequency_transform
from tools.train_demo_voice.pulses import pulse_train

FFT_SIZE = 1024
FEATURE_DELAY_FRAMES = 1
"""Frame t + 1 describes the samples around t * hop_size: the analysis filter delays by 127 samples."""

FloatArray = npt.NDArray[np.float32]


def advanced(values: FloatArray) -> FloatArray:
    """Move features to the samples that they describe: frame t + 1 to frame t; the last one is held."""
    return np.concatenate([values[FEATURE_DELAY_FRAMES:], values[-1:].repeat(FEATURE_DELAY_FRAMES, axis=0)])


def minimum_phase(mcep: FloatArray, alpha: float) -> npt.NDArray[np.complex128]:
    """Return the minimum-phase spectra of mel-cepstra, (T, order + 1) to (T, FFT_SIZE / 2 + 1).

    The cepstrum of a mel-cepstrum ends at 0 towards negative time: its Fourier transform is the logarithm of a
    minimum-phase spectrum as it stands (A. V. Oppenheim, R. W. Schafer, Discrete-Time Signal Processing, chapter 13).
    """
    cepstrum = mcep.astype(np.float64) @ frequency_transform(mcep.shape[1], FFT_SIZE // 2, -alpha)
    return np.exp(np.fft.rfft(cepstrum, FFT_SIZE, axis=1))


def filtered(signal: npt.NDArray[Any], spectra: npt.NDArray[Any], hop: int) -> npt.NDArray[np.float64]:
    """Filter a (T * hop,) signal with T spectra: that of frame t around sample t * hop, faded over a frame each way."""
    frames = len(spectra)
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(2 * hop) / (2 * hop))  # with its neighbours it adds up to 1
    padded = np.pad(signal.astype(np.float64), (hop, hop))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop][:frames] * window
    responses = np.fft.irfft(np.fft.rfft(pieces, FFT_SIZE, axis=1) * spectra, FFT_SIZE, axis=1)
    blocks = np.zeros((frames + -(-FFT_SIZE // hop) + 1, hop))
    for number in range(-(-FFT_SIZE // hop)):
        part = responses[:, number * hop : (number + 1) * hop]
        blocks[number : number + frames, : part.shape[1]] += part
    return np.asarray(blocks.reshape(-1)[hop : hop + frames * hop])


@dataclass(frozen=True, eq=False)
class Targets:
    """What the two networks are asked for, (T * hop_size,) each."""

    source: FloatArray
    """Pulses and noise: the waveform without its envelope, at power 1."""
    waveform: FloatArray


def locked_targets(
    f0: FloatArray, cf0: FloatArray, mcep: FloatArray, bap: FloatArray, noise: FloatArray, voice: Voice
) -> Targets:
    """Make the waveform that has these features, the phases of the excitation's sine and the draw of its noise.

    Args:
        f0: (T,) in Hz, 0 where unvoiced.
        cf0: (T,) in Hz, the continuous F0 that the excitation is made of.
        mcep: (T, order + 1) mel-cepstrum.
        bap: (T, 3) band aperiodicity in dB.
        noise: (T * hop_size,) noise of the excitation, at power 1.
        voice: the voice's constants.

    """
    voicing, envelope = advanced(f0), minimum_phase(advanced(mcep), voice.analysis.all_pass_alpha)
    coded = np.ascontiguousarray(advanced(bap), np.float64)
    aperiodicity = pyworld.decode_aperiodicity(coded, voice.sample_rate, FFT_SIZE)
    aperiodicity = np.where(voicing[:, None] > 0.0, np.clip(aperiodicity, 0.0, 1.0), 1.0)
    pulses = filtered(pulse_train(voicing, cf0, voice), np.sqrt(1.0 - aperiodicity**2), voice.hop_size)
    source = pulses + filtered(noise, aperiodicity, voice.hop_size)
    waveform = filtered(source, envelope, voice.hop_size)
    return Targets(source.astype(np.float32), waveform.astype(np.float32))
