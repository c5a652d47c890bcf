"""Does a server make audio? A tiny inference tells, and its samples are looked at.

    python3 sifigan_triton/server/health.py [--url HOST:PORT] [--model NAME ...] [--timeout SECONDS]

Triton's own readiness stays green when the process behind a Python model has died or hangs. Standard library only
(Python 3.10 or newer): a serving container runs this file as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import math
import sys
import threading
import time
import urllib.parse
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

MAIN, OLDER = "sifigan", "sifigan-tensors"
"""The ensembles that are asked unless others are named; not every server has the second."""
FEATURES, OLDER_TENSORS = ("f0", "mcep", "bap"), ("INPUT__0", "INPUT__1", "INPUT__2")
F0_HZ = (0.0, 1000.0, 1000.0, 0.0)
"""Voiced frames, so that sine and offsets take part; above the floor of every engine. Mel-cepstrum and aperiodicity are
0, a flat spectrum of noise: within what every voice has heard, and so within the range that `preprocess` allows."""
LARGEST_DIFFERENCE = 0.01
"""How far samples of the same request may lie apart, in shares of the loudest one. On a CPU there is no difference; a
GPU may round differently when it computes several requests as one batch."""
LOUDEST = 1.0
"""The networks end with a tanh."""
FEWEST_CALLS = 2
"""So that the samples can be compared."""
REQUEST_ID = "health"
_LONGEST_ANSWER = 2**20
_LONGEST_REASON = 400
_BUSY, _PAUSE_S = 503, 0.5
_Result = TypeVar("_Result")


class UnhealthyError(RuntimeError):
    """The server does not synthesise; the message says what was asked and what came back."""


class AbsentError(UnhealthyError):
    """The server has no such model."""


@dataclass(frozen=True)
class Probe:
    """What a model answered."""

    model: str
    samples: tuple[float, ...]
    """FP32; none from a model that was only made to refuse."""
    seconds: float
    """How long all of it took."""

    @property
    def digest(self) -> str:
        """SHA-256 of the samples: the same at every probe, where the engine computes on a CPU."""
        return hashlib.sha256(array("f", self.samples).tobytes()).hexdigest()

    def sounds_like(self, other: Probe) -> bool:
        """Tell whether another probe of the same model gave these samples, but for rounding."""
        if len(self.samples) != len(other.samples):
            return False
        apart = (abs(ours - theirs) for ours, theirs in zip(self.samples, other.samples))  # noqa: B905 - checked above
        return max(apart, default=0.0) <= LARGEST_DIFFERENCE * max(map(abs, self.samples), default=0.0)


def probe(address: str, model: str, timeout_s: float) -> Probe:
    """Make a model synthesise four frames, as often at once as its steps have instances, and look at the samples.

    An ensemble of the older tensors is sent one of three tensors: its first step, which alone belongs to it, has to
    say which ones are missing. What stands behind is the engine of the other ensembles.

    Args:
        address: host and port of the HTTP API, as "127.0.0.1:8000"; "http://" may stand in front.
        model: an ensemble.
        timeout_s: seconds that all of it may take; requests that are still waiting then are dropped by the server.

    Raises:
        UnhealthyError: if the server cannot be reached, refuses, is too slow, or returns anything but sound.
        ValueError: if the address is none.

    """
    began = time.monotonic()
    server = _Server(address, timeout_s)
    inputs = {tensor["name"]: tensor for tensor in _found(server.description(model), "inputs", list)}
    if not set(inputs).issuperset(OLDER_TENSORS if OLDER_TENSORS[0] in inputs else FEATURES):
        raise UnhealthyError(
            f"{model} takes {', '.join(inputs)}, expected an ensemble that takes {', '.join(FEATURES)}"
        )
    steps = server.steps(model)
    calls = max(FEWEST_CALLS, *(_instances(step) for step in steps))
    if OLDER_TENSORS[0] in inputs:
        server.at_once([lambda: _expect_refusal(server, model, inputs)] * calls)
        return Probe(model, (), time.monotonic() - began)
    answers = server.at_once([lambda: _samples(server, model, inputs)] * calls)
    probes = [Probe(model, samples, time.monotonic() - began) for samples in answers]
    for each in probes:
        _check_sound(each, next((int(hop) for step in steps if (hop := _parameter(step, "hop_size"))), None))
        if not each.sounds_like(probes[0]):
            raise UnhealthyError(f"{model} returned other samples for the same request, asked {calls} times at once")
    return probes[0]


def check(address: str, models: Sequence[str], timeout_s: float) -> list[Probe]:
    """Probe several models one behind the other, all within `timeout_s`; those of `probe`'s errors are raised.

    Args:
        address: host and port of the HTTP API.
        models: ensembles; none: `sifigan`, and `sifigan-tensors` where the server has it.
        timeout_s: seconds.

    """
    until = time.monotonic() + timeout_s
    probes = []
    for model in models or (MAIN, OLDER):
        try:
            probes.append(probe(address, model, until - time.monotonic()))
        except AbsentError:
            if models or model == MAIN:
                raise
    return probes


class _Server:
    """The HTTP API of a server, asked until a deadline."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self._host, self._port = _read_address(address)
        self._url, self._timeout_s, self._until = (
            address.removeprefix("http://"),
            timeout_s,
            time.monotonic() + timeout_s,
        )

    @property
    def left_s(self) -> float:
        return self._until - time.monotonic()

    def description(self, model: str) -> Any:
        """Return the metadata of a model."""
        path = f"/v2/models/{urllib.parse.quote(model, safe='')}"
        status, answer = self.ask("GET", path)
        if status in (400, 404):
            raise AbsentError(f"the server at {self._url} has no {model}, or is not ready: {_reason(answer)}")
        return self.accepted(path, status, answer)

    def steps(self, model: str) -> list[Any]:
        """Return the configurations of what a model is composed of: its own, if it is no ensemble."""
        path = f"/v2/models/{urllib.parse.quote(model, safe='')}/config"
        config = self.accepted(path, *self.ask("GET", path))
        names = [step["model_name"] for step in config.get("ensemble_scheduling", {}).get("step", ())]
        return [config] if not names else [part for name in names for part in self.steps(name)]

    def infer(self, model: str, inputs: Sequence[Any], output: str) -> tuple[int, Any]:
        """Return status and answer of an inference; nobody waits for it longer than we do."""
        body = {"id": REQUEST_ID, "inputs": inputs, "outputs": [{"name": output}]}
        return self.ask("POST", f"/v2/models/{urllib.parse.quote(model, safe='')}/infer", body)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Return status and JSON of an answer; a server that says it is busy is asked again."""
        while True:
            ((status, text),) = self.at_once([lambda: self._exchange(method, path, body)])
            if status != _BUSY or self.left_s < _PAUSE_S:
                break
            time.sleep(_PAUSE_S)
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def accepted(self, path: str, status: int, answer: Any) -> Any:
        """Return the answer of a request that went well."""
        if status != 200:
            raise UnhealthyError(f"http://{self._url}{path} answers {status}: {_reason(answer)}")
        if not isinstance(answer, dict):
            raise UnhealthyError(f"http://{self._url}{path} is no Triton server, it answers {_reason(answer)}")
        return answer

    def at_once(self, calls: Sequence[Callable[[], _Result]]) -> list[_Result]:
        """Return what calls return that run at once; whatever holds one up, none is waited for after the deadline."""
        done: list[_Result | Exception | None] = [None] * len(calls)

        def run(index: int) -> None:
            try:
                done[index] = calls[index]()
            except Exception as error:  # noqa: BLE001 - raised below, in the thread that waits
                done[index] = error

        threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(calls))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(self.left_s, 0.0))
        for result in done:
            if isinstance(result, Exception):
                raise result
        if any(thread.is_alive() for thread in threads):
            raise self._silence()
        return done  # type: ignore[return-value]  # each was set by its thread

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, str]:
        """Send one request over a connection of its own; http.client goes through no proxy."""
        if body is not None:
            body = {**body, "parameters": {"timeout": max(int(self.left_s * 1e6), 1)}}
        connection = http.client.HTTPConnection(self._host, self._port, timeout=max(self.left_s, 0.001))
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            return response.status, response.read(_LONGEST_ANSWER).decode("utf-8", "replace")
        except TimeoutError:
            raise self._silence() from None
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise UnhealthyError(f"http://{self._url}{path} does not answer: {error!r}") from None
        finally:
            connection.close()

    def _silence(self) -> UnhealthyError:
        return UnhealthyError(
            f"the server at {self._url} did not answer within {self._timeout_s:g} s: a process hangs, or too much work "
            "stands before this request"
        )


def _read_address(address: str) -> tuple[str, int]:
    """Read `host:port`, `[IPv6]:port` or either behind `http://`."""
    try:
        parts = urllib.parse.urlsplit(f"//{address.removeprefix('http://')}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.netloc != f"{address.removeprefix('http://')}" or "@" in address:
        raise ValueError(f"the address is {address!r}, expected host:port of the HTTP API, as localhost:8000")
    return host, port


def _samples(server: _Server, model: str, inputs: dict[str, Any]) -> tuple[float, ...]:
    """Synthesise once."""
    sent = [_input(inputs[name]) for name in FEATURES]
    answer = server.accepted(f"/v2/models/{model}/infer", *server.infer(model, sent, "waveform"))
    try:
        samples = answer["outputs"][0]["data"]
        return tuple(float(value) for value in samples)
    except (LookupError, TypeError, ValueError):
        raise UnhealthyError(f"{model} returned no samples: {_reason(answer)}") from None


def _input(tensor: dict[str, Any]) -> dict[str, Any]:
    """Return one input for the probe's frames; the variable axis of the tensor is time."""
    shape = [len(F0_HZ) if int(size) < 0 else int(size) for size in tensor["shape"]]
    data = list(F0_HZ) if tensor["name"] == "f0" else [0.0] * math.prod(shape)
    return {"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": data}


def _expect_refusal(server: _Server, model: str, inputs: dict[str, Any]) -> None:
    """Send one of the older tensors; the first step's own code misses the others."""
    missing, (sent, _) = [name for name in OLDER_TENSORS if name != "INPUT__1"], ("INPUT__1", None)
    tensor = inputs[sent]
    shape = [1 if int(size) < 0 else int(size) for size in tensor["shape"]]
    zeros = {"name": sent, "datatype": tensor["datatype"], "shape": shape, "data": [0.0] * math.prod(shape)}
    status, answer = server.infer(model, [zeros], "OUTPUT__0")
    if status == 200 or not all(name in _reason(answer) for name in missing):
        raise UnhealthyError(
            f"{model} answers {status}: {_reason(answer)}, expected a refusal that names {' and '.join(missing)}"
        )


def _check_sound(probe: Probe, hop_size: int | None) -> None:
    """Check what is true for the sound of any voice."""
    samples, frames = probe.samples, len(F0_HZ)
    expected = f"{frames * hop_size}" if hop_size else f"a multiple of {frames}"
    if not samples or (len(samples) != frames * hop_size if hop_size else len(samples) % frames):
        raise UnhealthyError(f"{probe.model} returned {len(samples)} samples for {frames} frames, expected {expected}")
    bad = next((index for index, value in enumerate(samples) if not math.isfinite(value)), None)
    if bad is not None:
        raise UnhealthyError(f"{probe.model} returned {samples[bad]} at sample {bad}, expected finite samples")
    if max(map(abs, samples)) > LOUDEST:
        raise UnhealthyError(f"{probe.model} returned samples up to {max(map(abs, samples)):g}, expected at most 1")
    if len(set(samples)) == 1:
        raise UnhealthyError(f"{probe.model} returned {len(samples)} times {samples[0]:g}, expected sound")


def _instances(config: dict[str, Any]) -> int:
    """Return how many instances a model has, on all devices."""
    groups = config.get("instance_group", ())
    return sum(int(group.get("count", 1)) * max(len(group.get("gpus", ())), 1) for group in groups)


def _parameter(config: dict[str, Any], name: str) -> str | None:
    value = config.get("parameters", {}).get(name, {}).get("string_value")
    return None if value is None else str(value)


def _found(answer: Any, key: str, kind: type[_Result]) -> _Result:
    if not isinstance(answer.get(key), kind):
        raise UnhealthyError(f"the server answers {_reason(answer)}, expected {key}")
    return answer[key]  # type: ignore[no-any-return]


def _reason(answer: Any) -> str:
    """Return what an answer says, in one short line."""
    said = answer.get("error", answer) if isinstance(answer, dict) else answer
    text = " ".join(str(said).split())
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command line."""
    parser.add_argument("--url", default="localhost:8000", help="host:port of the HTTP API (default: %(default)s)")
    parser.add_argument(
        "--model",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"ensembles to ask (default: {MAIN}, and {OLDER} where the server has it)",
    )
    parser.add_argument("--timeout", type=float, default=25.0, help="seconds for all of it (default: %(default)g)")


def run(args: argparse.Namespace) -> int:
    """Say in one line whether the server is healthy; returns the exit status."""
    began = time.monotonic()
    try:
        probes = check(args.url, args.model, args.timeout)
    except UnhealthyError as error:
        sys.stdout.write(f"unhealthy after {time.monotonic() - began:.2f} s: {error}\n")
        return 1
    said = (f"{each.model} {len(each.samples)} samples" if each.samples else f"{each.model} answers" for each in probes)
    sys.stdout.write(f"healthy: {', '.join(said)}; {time.monotonic() - began:.2f} s\n")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Make a server synthesise a few frames: exit status 0 if that is sound."
    )
    add_options(parser)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
