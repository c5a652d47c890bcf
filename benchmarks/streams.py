"""Streams on `serve`: time to first audio, under-runs at real-time playback, memory, and streams that are dropped.

    python -m benchmarks.streams --model-repository models [--minutes 30] [--dropped 1000] [--playback-s 60]

The features are the recordings', repeated. Printed are:

- for 5 s, 60 s and `--minutes`: the first chunk of a stream, beside a call of as many frames (the smallest window) and,
  for the first two, the whole answer;
- for 1, 4 and 8 streams at once: each is played in real time from its first chunk on, at most a second ahead. The
  longest wait for a chunk, and under-runs: chunks that came after the audio before them had been played, with the
  longest silence. The audio of one of them is compared with the same stream alone;
- memory (PSS), /dev/shm, descriptors and threads of the service after `--dropped` streams that were left behind their
  first chunk and 100 that nobody reads on, and along a stream of `--minutes` (`--plot` writes the values as CSV).

Exits with 1 if a stream fails or differs, or if the service holds over 5 % more than before.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.served import Served, holdings
from benchmarks.tracks import recordings
from sifigan_triton.client import AsyncSifiganClient, SynthesisError
from sifigan_triton.features.requests import Request

ALLOWED = 0.05
UNREAD = 100
SAMPLE_RATE, FRAMES_A_SECOND = 24000, 200


@dataclass
class Played:
    """One stream, played in real time."""

    first_s: float = 0.0
    """Until its first chunk."""
    gaps_s: list[float] = field(default_factory=list)
    silences_s: list[float] = field(default_factory=list)
    """How much too late chunks came."""
    samples: list[np.ndarray] = field(default_factory=list)


def song(frames: int) -> Request:
    """Return the recordings, repeated to a length."""
    source = vars(recordings())
    return Request(**{name: np.resize(values, (frames, *values.shape[1:])) for name, values in source.items()})


async def play(client: AsyncSifiganClient, request: Request, seed: int, keep: bool, whole: bool = True) -> Played:
    """Take a stream as a player does: no chunk before it has room, a second of audio ahead; `whole`: to its end."""
    played, began, last, heard = Played(), time.monotonic(), 0.0, 0.0
    async with aclosing(client.stream(request.f0, request.mcep, request.bap, seed=seed)) as chunks:
        async for chunk in chunks:
            now = time.monotonic()
            if last == 0.0:
                played.first_s = now - began
                heard = now
            else:
                played.gaps_s.append(now - last)
                if now > heard:
                    played.silences_s.append(now - heard)
                    heard = now
            last, heard = now, heard + chunk.waveform.size / SAMPLE_RATE
            if keep:
                played.samples.append(chunk.waveform)
            if not whole:
                break
            await asyncio.sleep(max(heard - time.monotonic() - 1.0, 0.0))
            last = time.monotonic()  # a gap is the wait for what was asked
    return played


async def first_audio(client: AsyncSifiganClient, seconds: int, at_once: bool) -> None:
    """Print what a stream's first chunk takes, beside the smallest window and the whole answer."""
    request, times = song(seconds * FRAMES_A_SECOND), []
    features = (request.f0, request.mcep, request.bap)
    await play(client, request, 0, keep=False, whole=False)  # the client looks at what is served
    for seed in range(7):
        times.append((await play(client, request, seed, keep=False, whole=False)).first_s)
    async with aclosing(client.stream(*features)) as chunks:
        size = (await anext(chunks)).waveform.size // 120
    window = []
    for seed in range(7):
        began = time.monotonic()
        await client.synthesize(*(values[:size] for values in features), seed=seed)
        window.append(time.monotonic() - began)
    line = f"{seconds:5d} s: first audio {statistics.median(times) * 1e3:.0f} ms (worst of 7: {max(times) * 1e3:.0f}); "
    line += f"a call of {size} frames {statistics.median(window) * 1e3:.0f} ms"
    if at_once:
        began = time.monotonic()
        await client.synthesize(*features)
        whole = time.monotonic() - began
        line += f"; the whole answer {whole * 1e3:.0f} ms, 1/{whole / statistics.median(times):.0f} of it"
    print(line, flush=True)


async def at_once(clients: list[AsyncSifiganClient], count: int, seconds: int) -> list[str]:
    """Play streams at once, over both protocols; print what a listener hears, and return what is wrong."""
    requests = song(seconds * FRAMES_A_SECOND)
    jobs = (play(clients[index % 2], requests, index, keep=index == 0) for index in range(count))
    began = time.monotonic()
    played = await asyncio.gather(*jobs)
    alone = [chunk async for chunk in clients[0].stream(requests.f0, requests.mcep, requests.bap, seed=0)]
    same = np.array_equal(np.concatenate(played[0].samples), np.concatenate([chunk.waveform for chunk in alone]))
    silences = [silence for each in played for silence in each.silences_s]
    first, gaps = max(each.first_s for each in played), [gap for each in played for gap in each.gaps_s]
    print(
        f"{count} streams of {seconds} s in {time.monotonic() - began:.0f} s: first audio of the last "
        f"{first * 1e3:.0f} ms, longest wait for a chunk {max(gaps, default=0.0) * 1e3:.0f} ms, under-runs "
        f"{len(silences)}, longest silence {max(silences, default=0.0) * 1e3:.0f} ms; bitwise as alone: {same}",
        flush=True,
    )
    return [] if same else [f"one of {count} streams is not the same as alone"]


def grown(what: str, before: dict[str, float], after: dict[str, float]) -> list[str]:
    """Print what the service holds, and return what has grown."""
    print(f"{what}: " + ", ".join(f"{key} {before[key]:.1f} -> {after[key]:.1f}" for key in before), flush=True)
    # A few more threads or descriptors are Triton's own pools; a leak by every stream is hundreds.
    return [f"{what}: {key}" for key in before if after[key] > before[key] * (1 + ALLOWED) + 5.0]


async def long_stream(served: Served, client: AsyncSifiganClient, minutes: float, plot: Path | None) -> list[str]:
    """Take one long stream as fast as it comes, and watch the service's memory."""
    request, rows, began = song(int(minutes * 60 * FRAMES_A_SECOND)), list[tuple[float, dict[str, float]]](), 0.0
    started = time.monotonic()
    async for chunk in client.stream(request.f0, request.mcep, request.bap):
        at = (chunk.first_frame + chunk.waveform.size // 120) / FRAMES_A_SECOND
        if at - began >= minutes * 60 / 60:
            began = at
            rows.append((at, holdings(served.pid)))
    print(f"{minutes:g} minutes of audio in {time.monotonic() - started:.0f} s")
    if plot:
        lines = [",".join(["audio s", *rows[0][1]]), *(",".join(map(str, [at, *row.values()])) for at, row in rows)]
        plot.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return grown("along the stream", rows[len(rows) // 6][1], rows[-1][1])


async def dropped(served: Served, clients: list[AsyncSifiganClient], count: int) -> list[str]:
    """Leave streams after their first chunk, keep others unread, and look what the service holds then."""
    request = song(2000)
    for _ in range(8):
        await asyncio.gather(*(play(client, request, 0, keep=False, whole=False) for client in clients))
    before = holdings(served.pid)
    for begin in range(0, count, 8):
        jobs = (play(clients[index % 2], request, 0, False, whole=False) for index in range(begin, begin + 8))
        await asyncio.gather(*jobs)
    unread = [clients[index % 2].stream(request.f0, request.mcep, request.bap) for index in range(UNREAD)]
    for stream in unread:
        await anext(stream)
    await asyncio.sleep(1.0)
    wrong = grown(f"{count} dropped and {UNREAD} unread streams", before, holdings(served.pid))
    for stream in unread:
        await stream.aclose()
    return wrong


async def run(served: Served, http: str, grpc: str, options: argparse.Namespace) -> list[str]:
    """Measure everything; return what is wrong."""
    clients, wrong = [AsyncSifiganClient(http), AsyncSifiganClient(f"grpc://{grpc}")], list[str]()
    try:
        for seconds, whole in ((5, True), (60, True), (int(options.minutes * 60), False)):
            await first_audio(clients[0], seconds, whole)
        for count in (1, 4, 8):
            wrong += await at_once(clients, count, options.playback_s)
        wrong += await dropped(served, clients, options.dropped)
        wrong += await long_stream(served, clients[0], options.minutes, options.plot)
    except (SynthesisError, OSError) as error:
        wrong.append(f"a stream failed: {error}")
    finally:
        for client in clients:
            await client.close()
    return wrong


def main() -> int:
    """Start the service, measure, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-repository", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--playback-s", type=int, default=60)
    parser.add_argument("--dropped", type=int, default=1000)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        served = Served(options.model_repository, Path(folder))
        try:
            wrong = asyncio.run(run(served, *served.start(), options))
        finally:
            served.stop()
    for each in wrong:
        print(f"WRONG: {each}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
