#!/usr/bin/env python3
"""Synthesise two silent frames through the ensemble: exit status 0 when the audio comes back, 1 with the reason.

Triton's own readiness stays green when the process behind a Python model has died, so only an inference tells. Runs in
the serving image: Python 3.10, standard library only.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import sys
from typing import Any

FRAMES = 2


class UnhealthyError(RuntimeError):
    """The server does not synthesise."""


def check(address: str, model: str, timeout_s: float) -> int:
    """Make one inference.

    Args:
        address: host and port of the HTTP API.
        model: the ensemble.
        timeout_s: seconds to wait for each answer.

    Returns:
        The number of samples that came back.

    Raises:
        UnhealthyError: if the server cannot be reached, refuses, or returns anything but finite samples.

    """
    metadata = _ask(address, "GET", f"/v2/models/{model}", None, timeout_s)
    inputs = [_silence(tensor) for tensor in metadata["inputs"] if tensor["name"] in ("f0", "mcep", "bap")]
    body = {"inputs": inputs, "outputs": [{"name": "waveform"}]}
    answer = _ask(address, "POST", f"/v2/models/{model}/infer", body, timeout_s)
    samples = answer["outputs"][0]["data"]
    if not samples or len(samples) % FRAMES:
        raise UnhealthyError(f"{model} returned {len(samples)} samples for {FRAMES} frames, expected a multiple")
    if not all(math.isfinite(value) for value in samples):
        raise UnhealthyError(f"{model} returned samples that are not finite")
    return len(samples)


def _silence(tensor: dict[str, Any]) -> dict[str, Any]:
    """Return an input of unvoiced, silent frames; the variable axis of the feature is time."""
    shape = [FRAMES if int(size) < 0 else int(size) for size in tensor["shape"]]
    return {"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": [0.0] * math.prod(shape)}


def _ask(address: str, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> Any:
    """Return the JSON that the server answers; http.client goes through no proxy."""
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise UnhealthyError(f"http://{address}{path} does not answer: {error!r}") from None
    finally:
        connection.close()
    if response.status != 200:
        raise UnhealthyError(f"http://{address}{path} answers {response.status}: {text}")
    try:
        return json.loads(text)
    except ValueError:  # NaN is no JSON, but Python reads it; this is something else
        raise UnhealthyError(f"http://{address}{path} answers no JSON: {text[:200]}") from None


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:8000", help="HTTP API (default: %(default)s)")
    parser.add_argument("--model", default="sifigan", help="ensemble (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=25.0, help="seconds for each answer (default: %(default)s)")
    args = parser.parse_args(arguments)
    try:
        samples = check(args.address, args.model, args.timeout)
    except UnhealthyError as error:
        print(f"unhealthy: {error}")
        return 1
    print(f"healthy: {samples} samples")
    return 0


if __name__ == "__main__":
    sys.exit(main())
