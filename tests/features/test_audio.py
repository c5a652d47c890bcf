"""Audio files in and out."""

from __future__ import annotations

import logging
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from sifigan_triton.features.audio import AudioError, read_audio, write_audio

RATE = 24000


def tone(rate: int, seconds: float = 1.0, hz: float = 440.0) -> NDArray[np.float64]:
    """Make a sine of amplitude 0.5."""
    return 0.5 * np.sin(2.0 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("rate", [8000, 24000, 44100, 48000])
def test_reads_any_format_and_rate(tmp_path: Path, extension: str, rate: int) -> None:
    path = tmp_path / f"tone.{extension}"
    soundfile.write(path, tone(rate), rate)
    waveform = read_audio(path, RATE)
    assert waveform.dtype == np.float64
    assert waveform.shape == (RATE,)
    middle = slice(RATE // 4, -RATE // 4)  # resampling and lossy coding ring at the ends
    tolerance = 0.05 if extension == "ogg" else 1e-3
    assert np.abs(waveform[middle] - tone(RATE)[middle]).max() < tolerance


def test_same_rate_is_not_touched(tmp_path: Path) -> None:
    samples = (tone(RATE) * 32767).astype(np.int16)
    soundfile.write(tmp_path / "tone.wav", samples, RATE)
    assert np.array_equal(read_audio(tmp_path / "tone.wav", RATE), samples / 32768.0)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right, third = tone(RATE), tone(RATE, hz=660.0), np.zeros(RATE)
    soundfile.write(tmp_path / "three.wav", np.stack([left, right, third], axis=1), RATE, subtype="DOUBLE")
    assert np.allclose(read_audio(tmp_path / "three.wav", RATE), (left + right) / 3.0, atol=1e-12)


def test_resampling_removes_what_the_new_rate_cannot_hold(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "high.wav", tone(48000, hz=13000.0), 48000, subtype="DOUBLE")
    assert np.abs(read_audio(tmp_path / "high.wav", RATE)[2000:-2000]).max() < 1e-6


def write_text(path: Path) -> None:
    path.write_text("no audio", encoding="utf-8")


def write_empty(path: Path) -> None:
    soundfile.write(path, np.zeros(0), RATE)


def write_nan(path: Path) -> None:
    samples = tone(RATE)
    samples[12000] = np.nan
    soundfile.write(path, samples, RATE, subtype="DOUBLE")


def write_short(path: Path) -> None:
    soundfile.write(path, tone(RATE)[:119], RATE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda path: None, r"in\.wav: no such file", id="missing"),
        pytest.param(lambda path: path.mkdir(), r"in\.wav: is a folder, expected an audio file", id="folder"),
        pytest.param(write_text, r"in\.wav: not readable as audio, expected a WAV, FLAC or OGG file", id="text"),
        pytest.param(write_empty, r"in\.wav: holds no samples", id="empty"),
        pytest.param(write_nan, r"in\.wav: 1 samples are NaN or infinite, the first at 0\.500 s", id="nan"),
        pytest.param(write_short, r"in\.wav: lasts 4\.96 ms, expected at least one frame, 5 ms", id="short"),
    ],
)
def test_unusable_file(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path / "in.wav")
    with pytest.raises(AudioError, match=message):
        read_audio(tmp_path / "in.wav", RATE)


def test_one_frame_is_enough(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "frame.wav", tone(RATE)[:120], RATE)
    assert len(read_audio(tmp_path / "frame.wav", RATE)) == 120


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_wav_round_trip(tmp_path: Path, dtype: type, caplog: pytest.LogCaptureFixture) -> None:
    expected = np.rint(tone(RATE) * 32767).astype(np.int16)
    waveform = expected if dtype is np.int16 else tone(RATE).astype(dtype)
    path = tmp_path / "new" / "folder" / "out.wav"
    write_audio(path, waveform, RATE)
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE
    assert soundfile.info(path).subtype == "PCM_16"
    assert np.array_equal(samples, expected)
    assert [entry.name for entry in path.parent.iterdir()] == ["out.wav"]
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "kind"), [("a.wav", "WAV"), ("a.WAV", "WAV"), ("a.flac", "FLAC"), ("a", "WAV"), ("v1.2/a", "WAV")]
)
def test_name_gives_the_format(tmp_path: Path, name: str, kind: str) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 2400).astype(np.int16)
    write_audio(tmp_path / name, samples, RATE)
    info = soundfile.info(tmp_path / name)
    assert (info.format, info.subtype, info.samplerate) == (kind, "PCM_16", RATE)
    assert np.array_equal(soundfile.read(tmp_path / name, dtype="int16")[0], samples)


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3", "a.wav.gz"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    ending = Path(name).suffix
    with pytest.raises(
        AudioError, match=rf"{name}: cannot write {ending}, expected a name that ends in \.wav or \.flac"
    ):
        write_audio(tmp_path / name, np.zeros(10, np.int16), RATE)
    assert not list(tmp_path.iterdir())


def test_pipe_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(RATE), RATE)
    data = (tmp_path / "tone.wav").read_bytes()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(data,), daemon=True)
    writer.start()
    assert np.array_equal(read_audio(fifo, RATE), read_audio(tmp_path / "tone.wav", RATE))
    writer.join(10.0)


def test_clipping_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    waveform = np.array([0.0, 1.0, -1.0, 1.5, -2.0], np.float32)
    with caplog.at_level(logging.WARNING):
        write_audio(tmp_path / "loud.wav", waveform, RATE)
    assert "2 of 5 samples clipped to full scale (peak 2.000)" in caplog.text
    samples, _ = soundfile.read(tmp_path / "loud.wav", dtype="int16")
    assert samples.tolist() == [0, 32767, -32767, 32767, -32767]
    assert waveform.tolist() == [0.0, 1.0, -1.0, 1.5, -2.0]


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        pytest.param(np.zeros((2, 10), np.float32), r"waveform has shape \(2, 10\), expected one channel", id="rank"),
        pytest.param(np.zeros(10, np.int32), "waveform is int32, expected float32, float64 or int16", id="dtype"),
        pytest.param(np.array([0.0, np.inf]), "1 samples .* NaN or infinite, the first is sample 1", id="infinite"),
    ],
)
def test_unusable_waveform_leaves_the_old_file(tmp_path: Path, waveform: NDArray[np.float32], message: str) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")
    with pytest.raises(AudioError, match=message):
        write_audio(path, waveform, RATE)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")

    def fail(file: BinaryIO, *_: object, **__: object) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(soundfile, "write", fail)
    with pytest.raises(KeyboardInterrupt):
        write_audio(path, np.zeros(10, np.float32), RATE)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def wav(rate: int, channels: int = 1, frames: int = 100) -> bytes:
    """Return a 16-bit WAV file of silence."""
    data = bytes(2 * channels * frames)
    kind = struct.pack("<HHIIHH", 1, channels, rate, 2 * channels * rate, 2 * channels, 16)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + kind + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def flac(frames: int, rate: int = 24000) -> bytes:
    """Return a FLAC file whose header claims so many frames, without any."""
    packed = (rate << 44) | (0 << 41) | (15 << 36) | frames
    return b"fLaC\x80\x00\x00\x22" + struct.pack(">HH", 4096, 4096) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(wav(1), r"its rate is 1 Hz, expected 4,000 to 384,000 Hz: resample it", id="1-hz"),
        pytest.param(wav(2**30), r"its rate is 1,073,741,824 Hz, expected", id="2^30-hz"),
        pytest.param(wav(24000, 1000), r"has 1,000 channels, expected at most 32: mix it down", id="channels"),
        pytest.param(flac(2**36 - 1), r"lasts 2,863,312 s by its header, expected at most 1,800: cut it", id="flac"),
        pytest.param(flac(2**27 + 1, 96000), r"has 134,217,729 samples by its header, expected at most", id="samples"),
    ],
)
def test_header_beyond_the_limits_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "in.wav").write_bytes(content)
    with pytest.raises(AudioError, match=rf"in\.wav: {message}"):
        read_audio(tmp_path / "in.wav", RATE)


def test_pipe_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is made smaller for the sake of the test's time."""
    monkeypatch.setattr("sifigan_triton.features.audio.MAX_STREAM_BYTES", 2**16)
    with pytest.raises(AudioError, match=r"/dev/zero: .*has more than 65,536 bytes"):
        read_audio(Path("/dev/zero"), RATE)


def test_raw_samples_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in.raw").write_bytes(bytes(1000))
    with pytest.raises(AudioError, match=r"in\.raw: not readable as audio, expected a WAV, FLAC or OGG file"):
        read_audio(tmp_path / "in.raw", RATE)
