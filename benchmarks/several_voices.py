"""What one more voice costs: memory of each process, and what the callers of another voice see of its coming and going.

    python -m benchmarks.several_voices REPOSITORY [--frames 627] [--seconds 10]

The repository has several voices (`sifigan-triton build --as`). `serve` starts with the first; the others join it one
by one, by SIGHUP, and the last one leaves again, while one client calls the first without a rest. Prints PSS by process
for each number of voices, and for each change: seconds until it is served, calls of the first voice, how many failed or
sounded different, their latency before and meanwhile, and the peak of memory. Exits with 1 if a call failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.served import Served, holdings, processes
from preprocess import Voice
from sifigan_triton.client import ServerUnavailableError, SifiganClient
from sifigan_triton.repository.servable import find_servable
from sifigan_triton.repository.voice_names import voice_of

LONGEST_CHANGE_S = 300.0
SETTLE_S = 3.0


class Caller(threading.Thread):
    """Calls one voice again and again."""

    def __init__(self, url: str, model: str, features: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        super().__init__(daemon=True)
        self.url, self.model, self.features = url, model, features
        self.calls: list[tuple[float, float]] = []
        """When each began, and the seconds that it took."""
        self.bad: list[str] = []
        self.over = False

    def run(self) -> None:
        """Call until it is over."""
        with SifiganClient(self.url, self.model, retries=0) as client:
            expected = client.synthesize(*self.features)
            while not self.over:
                began = time.monotonic()
                try:
                    if not np.array_equal(client.synthesize(*self.features), expected):
                        self.bad.append("other samples")
                except Exception as error:  # noqa: BLE001 - whatever a caller meets is counted
                    self.bad.append(repr(error))
                self.calls.append((began, time.monotonic() - began))

    def latency(self, since: float, until: float) -> str:
        """Return median and maximum of the calls that began in between, in ms."""
        taken = [1e3 * seconds for began, seconds in self.calls if since <= began < until]
        return f"{statistics.median(taken):.0f} / {max(taken):.0f} ms ({len(taken)} calls)" if taken else "no calls"


def by_process(root: int | None) -> dict[str, tuple[float, float]]:
    """Return PSS and what is shared with other processes (RSS without private pages), in MB, of the server's parts."""
    found: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for pid in processes(root):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        sizes: defaultdict[str, float] = defaultdict(float)
        for line in text.splitlines()[1:]:
            sizes[line.split(":")[0]] += int(line.split()[1]) / 1e3
        model = next((word.split("/")[-3] for word in words if word.endswith("/1/model.py")), None)
        part = found[model or Path(words[0]).name]
        part[0] += sizes["Pss"]
        part[1] += sizes["Rss"] - sizes["Private_Clean"] - sizes["Private_Dirty"]
    return {name: (pss, shared) for name, (pss, shared) in found.items()}


def change(served: Served, caller: Caller, url: str, name: str, there: bool, rest_s: float) -> None:
    """Let the server look again, and tell what came of it."""
    calm, before = time.monotonic(), holdings(served.pid)["PSS MB"]
    time.sleep(rest_s)
    began, peak = time.monotonic(), before
    assert served.pid is not None
    os.kill(served.pid, signal.SIGHUP)
    with SifiganClient(url, name, retries=0) as client:
        while is_there(client, caller.features) != there:
            peak = max(peak, holdings(served.pid)["PSS MB"])
            if time.monotonic() - began > LONGEST_CHANGE_S:
                raise RuntimeError(f"{name} has not changed in {LONGEST_CHANGE_S:g} s:\n{served.said[-2000:]}")
            time.sleep(0.2)
    done = time.monotonic()
    while len([0 for process in processes(served.pid).values() if process == "tritonserver"]) > 1:
        peak = max(peak, holdings(served.pid)["PSS MB"])
        time.sleep(0.2)
    gone = time.monotonic()
    print(
        f"{name} {'joins' if there else 'leaves'}: {done - began:.1f} s, the server before it ends "
        f"{gone - done:.1f} s later; failed {len(caller.bad)} of {len(caller.calls)}; latency of {caller.model} "
        f"(median / max): before {caller.latency(calm, began)}, meanwhile {caller.latency(began, gone)}; memory "
        f"before {before:.0f}, peak {peak:.0f}, after {holdings(served.pid)['PSS MB']:.0f} MB",
        flush=True,
    )


def is_there(client: SifiganClient, features: tuple[np.ndarray, np.ndarray, np.ndarray]) -> bool:
    """Tell whether a server has a voice."""
    try:
        client.synthesize(*features)
    except ServerUnavailableError:
        return False
    return True


def report(served: Served, count: int) -> None:
    """Print the memory of each part."""
    time.sleep(SETTLE_S)
    parts = by_process(served.pid)
    print(f"voices: {count}, in all {sum(pss for pss, _ in parts.values()):.0f} MB (PSS)")
    for name, (pss, shared) in sorted(parts.items()):
        print(f"  {name:40} {pss:7.1f} MB, of pages shared with others {shared:6.1f} MB")
    sys.stdout.flush()


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--frames", type=int, default=627)
    parser.add_argument("--seconds", type=float, default=10.0, help="before each change")
    args = parser.parse_args()
    repository: Path = args.repository.resolve()
    voices = find_servable(repository).voices
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder, "models")
        models.mkdir()

        def link(voice: str) -> None:
            for source in repository.iterdir():
                if voice_of(source.name) == voice_of(voice):
                    (models / source.name).symlink_to(source)

        link(voices[0])
        served = Served(models, Path(folder))
        url, _ = served.start()
        try:
            voice = Voice.load(find_servable(models).first_step(voices[0]) / "voice.json")
            rows = (np.tile(np.asarray(part.mean, np.float32), (args.frames, 1)) for part in (voice.mcep, voice.bap))
            caller = Caller(url, voices[0], (np.full(args.frames, 200.0, np.float32), *rows))
            caller.start()
            report(served, 1)
            for count, name in enumerate(voices[1:], start=2):
                link(name)
                change(served, caller, url, name, True, args.seconds)
                report(served, count)
            for path in [path for path in models.iterdir() if voice_of(path.name) == voice_of(voices[-1])]:
                path.unlink()
            change(served, caller, url, voices[-1], False, args.seconds)
            caller.over = True
            caller.join()
        finally:
            served.stop()
    print("\n".join(caller.bad[:5]))
    return int(bool(caller.bad))


if __name__ == "__main__":
    sys.exit(main())
