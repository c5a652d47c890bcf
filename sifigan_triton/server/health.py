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
import time
import urllib.parse
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MAIN, OLDER, LAST_STEP = "sifigan", "-tensors", "postprocess"
"""How the names begin or end of the ensembles that are asked unless others are named, and of each voice's last step."""
FEATURES, OLDER_TENSORS = ("f0", "mcep", "bap"), ("INPUT__0", "INPUT__1", "INPUT__2")
F0_HZ = (0.0, 1000.0, 1000.0, 0.0)
"""Voiced frames, so that sine and offsets take part; above the floor of every engine. Mel-cepstrum and aperiodicity are
0, a flat spectrum of noise: within what every voice has heard, and so within the range that `preprocess` allows."""
LARGEST_DIFFERENCE = 0.01
"""How far samples of the same request may lie apart, in shares of the loudest one. On a CPU there is no difference; a
GPU may round differently when it computes several requests as one batch."""
LOUDEST = 1.0
"""The networks end with a tanh."""
CALLS = 2
"""Requests to each instance: their samples are compared."""
REQUEST_ID = "health"
_LONGEST_ANSWER = 2**20
_LONGEST_REASON = 400
_BUSY, _PAUSE_S = 503, 0.5


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

    def is_alike(self, other: Probe) -> bool:
        """Tell whether another probe gave the same samples, but for rounding."""
        return _is_alike(self.samples, other.samples)


def probe(address: str, model: str, timeout_s: float) -> Probe:
    """Make a model synthesise four frames, several times, and look at the samples.

    Triton hands requests to the instances of a model in turn: one behind the other they reach each of them, if nobody
    else calls.

    An ensemble of the older tensors is sent one of three: its first step, which alone belongs to it, has to say which
    ones are missing. What stands behind it is asked through the other ensembles.

    Args:
        address: host and port of the HTTP API, as "127.0.0.1:8000"; "http://" may stand in front.
        model: an ensemble.
        timeout_s: seconds that all of it may take; what still waits in the server then is dropped there.

    Raises:
        UnhealthyError: if the server cannot be reached, refuses, is too slow, or returns anything but sound.
        ValueError: if the address is none.

    """
    began = time.monotonic()
    server = _Server(address, timeout_s)
    try:
        inputs, steps = server.inputs(model), server.steps(model)
        instances = max(map(_instances, steps))
        hop_size = next((hop for hop in map(_hop_size, steps) if hop), None)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UnhealthyError(f"what {address} says of {model} cannot be read ({error!r}): is it Triton?") from None
    if inputs.keys() >= set(OLDER_TENSORS):
        for _ in range(instances):
            _expect_refusal(server, model, inputs["INPUT__1"])
        return Probe(model, (), time.monotonic() - began)
    if missing := set(FEATURES) - inputs.keys():
        raise UnhealthyError(f"{model} does not take {', '.join(sorted(missing))}: name an ensemble")
    answers = [_samples(server, model, [inputs[name] for name in FEATURES]) for _ in range(CALLS * instances)]
    for samples in answers:
        _check_sound(model, samples, hop_size)
        if not _is_alike(samples, answers[0]):
            raise UnhealthyError(f"{model} returned other samples when it was asked the same again")
    return Probe(model, answers[0], time.monotonic() - began)


def check(address: str, models: Sequence[str], timeout_s: float) -> list[Probe]:
    """Probe several models one behind the other.

    Args:
        address: host and port of the HTTP API.
        models: ensembles; none: of each voice that the server has `sifigan-<voice>`, and
            `sifigan-<voice>-tensors` where the server has it.
        timeout_s: seconds that all of it may take.

    Raises:
        UnhealthyError: what `probe` says.
        ValueError: if the address is none.

    """
    until = time.monotonic() + timeout_s
    probes = []
    for model in models or _of_voices(_Server(address, timeout_s).names()) or (MAIN, f"{MAIN}{OLDER}"):
        try:
            probes.append(probe(address, model, until - time.monotonic()))
        except AbsentError:
            if models or not model.endswith(OLDER):
                raise
    return probes


def _of_voices(names: set[str]) -> list[str]:
    """Return the ensembles of each voice, `sifigan-a` and `sifigan-a-tensors`: `postprocess-a` tells the voice."""
    voices = sorted(MAIN + name.removeprefix(LAST_STEP) for name in names if name.startswith(LAST_STEP))
    return [name for voice in voices for name in (voice, f"{voice}{OLDER}") if name in names]


class _Server:
    """The HTTP API of a server, asked until a deadline."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self._host, self._port = _read_address(address)
        self._url = f"http://{address.removeprefix('http://')}"
        self._timeout_s, self._until = timeout_s, time.monotonic() + timeout_s

    def names(self) -> set[str]:
        """Return the models that are loaded, as far as the server tells."""
        _, answer = self.ask("GET", "/v2/models/stats")
        try:
            return {str(entry["name"]) for entry in answer["model_stats"]}
        except (LookupError, TypeError):
            return set()

    def inputs(self, model: str) -> dict[str, dict[str, Any]]:
        """Return what a model takes, by the tensors' names."""
        status, answer = self.ask("GET", _path(model))
        if status in (400, 404):
            raise AbsentError(f"{self._url} has no {model} that is ready: {_reason(answer)}")
        found = self.accepted(_path(model), status, answer).get("inputs", ())
        return {tensor["name"]: tensor for tensor in found}

    def steps(self, model: str) -> list[dict[str, Any]]:
        """Return the configurations of what a model is composed of: its own, if it is no ensemble."""
        config = self.accepted(_path(model, "/config"), *self.ask("GET", _path(model, "/config")))
        names = [step["model_name"] for step in config.get("ensemble_scheduling", {}).get("step", ())]
        return [part for name in names for part in self.steps(name)] or [config]

    def infer(self, model: str, inputs: Sequence[Any], output: str) -> tuple[int, Any]:
        """Return status and answer of an inference, for which nobody waits longer than we do."""
        body = {"id": REQUEST_ID, "inputs": inputs, "outputs": [{"name": output}]}
        return self.ask("POST", _path(model, "/infer"), body)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Return status and JSON of an answer; a server that says it is busy is asked again."""
        while True:
            status, text = self._exchange(method, path, body)
            if status != _BUSY or self._left_s < _PAUSE_S:
                break
            time.sleep(_PAUSE_S)
        try:
            return status, json.loads(text)
        except (ValueError, RecursionError):
            return status, text

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, str]:
        """Send one request over a connection of its own; http.client goes through no proxy."""
        left_s = max(self._left_s, 0.001)
        if body is not None:
            body = {**body, "parameters": {"timeout": int(left_s * 1e6)}}
        connection = http.client.HTTPConnection(self._host, self._port, timeout=left_s)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            return response.status, response.read(_LONGEST_ANSWER).decode("utf-8", "replace")
        except TimeoutError:
            raise UnhealthyError(
                f"{self._url}{path} did not answer within {self._timeout_s:g} s: a process hangs, or too much work "
                "stands before this request"
            ) from None
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise UnhealthyError(f"{self._url}{path} does not answer: {error!r}") from None
        finally:
            connection.close()

    def accepted(self, path: str, status: int, answer: Any) -> dict[str, Any]:
        """Return the answer of a request that went well."""
        if status != 200:
            raise UnhealthyError(f"{self._url}{path} answers {status}: {_reason(answer)}")
        if not isinstance(answer, dict):
            raise UnhealthyError(f"{self._url}{path} answers {_reason(answer)}, expected JSON of a Triton server")
        return answer

    @property
    def _left_s(self) -> float:
        return self._until - time.monotonic()


def _read_address(address: str) -> tuple[str, int]:
    """Read `host:port` or `[IPv6]:port`, also behind `http://`."""
    bare = address.removeprefix("http://")
    try:
        parts = urllib.parse.urlsplit(f"//{bare}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.netloc != bare or "@" in bare or not bare.isprintable() or " " in bare:
        raise ValueError(f"the address is {address!r}, expected host:port of the HTTP API, such as localhost:8000")
    return host, port


def _path(model: str, what: str = "") -> str:
    return f"/v2/models/{urllib.parse.quote(model, safe='')}{what}"


def _samples(server: _Server, model: str, tensors: Sequence[dict[str, Any]]) -> tuple[float, ...]:
    """Synthesise once."""
    inputs = [_input(tensor, len(F0_HZ)) for tensor in tensors]
    answer = server.accepted(_path(model, "/infer"), *server.infer(model, inputs, "waveform"))
    try:
        return tuple(float(value) for value in answer["outputs"][0]["data"])
    except (LookupError, TypeError, ValueError):
        raise UnhealthyError(f"{model} returned no samples: {_reason(answer)}") from None


def _expect_refusal(server: _Server, model: str, tensor: dict[str, Any]) -> None:
    """Send one of the older tensors."""
    status, answer = server.infer(model, [_input(tensor, 1)], "OUTPUT__0")
    missing = [name for name in OLDER_TENSORS if name != tensor["name"]]
    if status == 200 or not all(name in _reason(answer) for name in missing):
        raise UnhealthyError(
            f"{model} answers {status}: {_reason(answer)}, expected a refusal that names {' and '.join(missing)}"
        )


def _input(tensor: dict[str, Any], frames: int) -> dict[str, Any]:
    """Return one input; the variable axis of its tensor is time."""
    shape = [frames if int(size) < 0 else int(size) for size in tensor["shape"]]
    data = F0_HZ if tensor["name"] == "f0" else [0.0] * math.prod(shape)
    return {"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": data}


def _check_sound(model: str, samples: Sequence[float], hop_size: int | None) -> None:
    """Check what is true for the sound of any voice."""
    count, frames = len(samples), len(F0_HZ)
    if count == 0 or count % frames or (hop_size is not None and count != frames * hop_size):
        expected = f"a multiple of {frames}" if hop_size is None else str(frames * hop_size)
        raise UnhealthyError(f"{model} returned {count} samples for {frames} frames, expected {expected}")
    bad = [index for index, value in enumerate(samples) if not math.isfinite(value)]
    if bad:
        raise UnhealthyError(f"{model} returned {samples[bad[0]]} at sample {bad[0]}, expected finite samples")
    loudest = max(map(abs, samples))
    if loudest > LOUDEST:
        raise UnhealthyError(f"{model} returned a sample of {loudest:g}, expected at most {LOUDEST:g}")
    if len(set(samples)) == 1:
        raise UnhealthyError(f"{model} returned {count} times {samples[0]:g}, expected sound")


def _is_alike(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """Tell whether samples are the same, but for rounding."""
    if len(ours) != len(theirs):
        return False
    apart = max((abs(one - other) for one, other in zip(ours, theirs)), default=0.0)  # noqa: B905 - of one length
    return apart <= LARGEST_DIFFERENCE * max(map(abs, theirs), default=0.0)


def _instances(config: dict[str, Any]) -> int:
    """Return how many instances a model has, on all devices."""
    groups = config.get("instance_group", ())
    return sum(int(group.get("count", 1)) * max(len(group.get("gpus", ())), 1) for group in groups) or 1


def _hop_size(config: dict[str, Any]) -> int | None:
    """Return the samples of a frame, which `postprocess` knows."""
    value = config.get("parameters", {}).get("hop_size")
    return None if value is None else int(value["string_value"])


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
        help=f"ensembles to ask (default: {MAIN} and {MAIN}{OLDER} of each voice that the server has)",
    )
    parser.add_argument("--timeout", type=_seconds, default=25.0, help="seconds for all of it (default: %(default)g)")


def _seconds(text: str) -> float:
    """Read a time limit."""
    value = float(text)
    if not 0.0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number of seconds above 0, at most 1e6")
    return value


def run(args: argparse.Namespace) -> int:
    """Say in one line whether the server is healthy; returns the exit status."""
    began = time.monotonic()
    try:
        probes = check(args.url, args.model, args.timeout)
    except (UnhealthyError, ValueError) as error:
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
