"""The times of a running server, found out with a few lone calls: it should have nothing else to do meanwhile."""

from __future__ import annotations

import json
import logging
import re
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

import numpy as np

from sifigan_triton.capacity.service_times import ServiceTimes
from sifigan_triton.client import ServerUnavailableError, SifiganClient
from sifigan_triton.client.address import Address
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.http_connection import DeadlineConnection
from sifigan_triton.client.http_messages import HttpRequest, no_answer
from sifigan_triton.client.own_counts import read_page
from sifigan_triton.client.step_statistics import StepStatistics
from sifigan_triton.features.requests import Request, measurement_file, read_requests

logger = logging.getLogger(__name__)

CALLS = 6
"""Calls of one length in a round: their mean, so that what happens now and then has its share."""
COUNTED_S, SETTLED_S = 2.0, 0.05
"""Longest wait for the models to have counted what they have answered, and how long a count has to stand still."""
MOST_OTHERS = 8
"""Windows of others while calls of one length are measured: a service asks itself every few seconds."""
LONGEST_WINDOWS = 4
"""Windows of the longest call that is sent, where only one window's size is known to be computed."""
_WINDOWS = re.compile(r'^sifigan_engine_windows_total\{[^}]*frames="(\d+)"[^}]*model="([^"]+)"', re.MULTILINE)
_WINDOWS_OTHER = re.compile(r'^sifigan_engine_windows_total\{[^}]*model="([^"]+)"[^}]*frames="(\d+)"', re.MULTILINE)


@dataclass(frozen=True)
class _Constants:
    """What the configurations of the models say."""

    engine: str
    sizes: tuple[int, ...]
    halo: int
    f0_floor: float
    batch: int
    frame_s: float
    longest: int
    turns: bool
    gpu: bool


class Probe:
    """A server that is measured, in rounds: what else happens on the machine between them is seen, too."""

    def __init__(self, url: str, metrics_url: str, model: str = "sifigan", cores: int = 1) -> None:
        """Look at the server.

        Args:
            url: `host:port` of its HTTP.
            metrics_url: `host:port` of its metrics.
            model: the ensemble.
            cores: cores that it has.

        Raises:
            ServerUnavailableError: if there is none, or no such model.
            ValueError: if the model is no ensemble.

        """
        self._url, self._metrics_url, self._model, self._cores = url, metrics_url, model, cores
        self._known = _look(url, metrics_url, model)
        source = read_requests(measurement_file("long.json"))[0].raised_to(self._known.f0_floor)
        largest = self._known.sizes[0]
        most = max(1, min(LONGEST_WINDOWS, self._known.longest // largest))
        self._requests = {frames: _cut(source, frames) for frames in sorted({*self._known.sizes, most * largest})}
        self._seconds: dict[int, list[float]] = defaultdict(list)
        self._engine_s: dict[int, list[float]] = defaultdict(list)
        self._warm = False

    def round(self, calls: int = CALLS) -> None:
        """Measure each length once more.

        Raises:
            SynthesisError: if the server refuses the calls.
            ValueError: if somebody else used the server meanwhile.

        """
        self.warm()
        with SifiganClient(self._url, self._model) as client:
            for frames, request in self._requests.items():
                self._block(client, frames, request, calls)

    def warm(self) -> None:
        """Let the server answer each length once: the first of each is slow."""
        if not self._warm:
            with SifiganClient(self._url, self._model) as client:
                for request in self._requests.values():
                    client.synthesize(request.f0, request.mcep, request.bap)
        self._warm = True

    def times(self) -> ServiceTimes:
        """Return what the rounds say: medians of their means."""
        known, sizes = self._known, self._known.sizes
        engine_s = {frames: statistics.median(values) for frames, values in self._engine_s.items()}
        around_s = {
            frames: statistics.median(
                max(all_s - engine, 0.0)
                for all_s, engine in zip(self._seconds[frames], self._engine_s[frames], strict=True)
            )
            for frames in self._requests
        }
        lengths = np.array(list(around_s), np.float64)
        slope = max(float(np.polyfit(lengths, list(around_s.values()), 1)[0]) if len(lengths) > 1 else 0.0, 0.0)
        base = max(float(np.median(np.array(list(around_s.values())) - slope * lengths)), 0.0)
        window_s, call_s = {size: engine_s[size] for size in sizes}, 0.0
        longest = max(engine_s)
        count = longest // sizes[0]
        if known.batch > 1 and count > 1:  # of one call with n windows and one with 1
            each = max((engine_s[longest] - engine_s[sizes[0]]) / (count - 1), engine_s[longest] / count * 1e-3)
            call_s = max(engine_s[sizes[0]] - each, 0.0)
            window_s = {sizes[0]: each}
        return ServiceTimes(
            window_s, known.halo, base, slope, known.frame_s, known.longest, self._cores,
            known.gpu, known.batch, known.turns, call_s,
        )  # fmt: skip

    def _block(self, client: SifiganClient, frames: int, request: Request, calls: int) -> None:
        """Measure calls of one length; a server also asks itself now and then whether it still makes sound."""
        before, took = self._counted(client, 0.0), []
        for _ in range(calls):
            began = time.perf_counter()
            client.synthesize(request.f0, request.mcep, request.bap)
            took.append(time.perf_counter() - began)
        done = self._counted(client, before.requests + calls) - before
        smallest, largest = self._known.sizes[-1], self._known.sizes[0]
        windows = calls * max(frames // largest, 1)
        others = done.inferences - windows
        if not 0 <= others <= MOST_OTHERS:
            raise ValueError(
                f"{self._known.engine} counted {done.inferences} windows where {windows} were sent: measure a server "
                "that nobody else uses"
            )
        seconds = done.seconds + done.copy_s
        if frames == smallest:
            engine_s = seconds / done.inferences
        else:
            engine_s = (seconds - others * self._engine_s[smallest][-1]) / calls
        self._seconds[frames].append(statistics.fmean(took))
        self._engine_s[frames].append(engine_s)

    def _counted(self, client: SifiganClient, requests: float) -> StepStatistics:
        """Return what the engine has counted when it has counted so many requests, and all that were answered."""
        until, last = time.monotonic() + COUNTED_S, None
        while True:
            counted = client.steps(self._metrics_url)[self._known.engine]
            if (counted == last and counted.requests >= requests) or time.monotonic() > until:
                return counted
            last = counted
            time.sleep(SETTLED_S)


def _look(url: str, metrics_url: str, model: str) -> _Constants:
    """Read the constants of an ensemble."""
    scheduling = _config(url, model).get("ensemble_scheduling", {})
    steps = [step["model_name"] for step in scheduling.get("step", [])]
    if len(steps) != 3:
        raise ValueError(f"{model} is no ensemble of three steps, expected one such as sifigan: name it with --model")
    first, engine, last = (_config(url, name) for name in steps)
    made, rates = _parameters(first), _parameters(last)
    window, halo = int(made["window"]), int(made["halo"])
    page = read_page(metrics_url, Deadline(10.0))
    found = {int(size) for size, name in _WINDOWS.findall(page) if name == steps[1]}
    found |= {int(size) for name, size in _WINDOWS_OTHER.findall(page) if name == steps[1]}
    python = engine.get("backend") == "python"
    kinds = [group.get("kind") for group in engine.get("instance_group", [])]
    gpu = "KIND_GPU" in kinds or "tensorrt" in engine.get("backend", "")
    return _Constants(
        steps[1],
        tuple(sorted(found - {0}, reverse=True)) or (window,),
        halo,
        float(made["f0_floor"]),
        max(int(engine.get("max_batch_size", 0)), 1) if gpu else 1,
        int(rates["hop_size"]) / int(rates["sample_rate"]),
        window * int(made["max_batch_size"]),
        python,
        gpu,
    )


def _parameters(config: dict[str, Any]) -> dict[str, str]:
    return {name: str(value["string_value"]) for name, value in config.get("parameters", {}).items()}


def _config(url: str, model: str) -> dict[str, Any]:
    """Return the configuration of a model, as the server tells it."""
    address = Address.parse(url)
    connection = DeadlineConnection(address.host, address.port)
    try:
        response = connection.exchange(HttpRequest("GET", f"/v2/models/{model}/config"), Deadline(10.0).at)
        config: dict[str, Any] = json.loads(response.body)
    except (OSError, HTTPException, ValueError) as error:
        raise no_answer(address, error) from None
    finally:
        connection.close()
    if response.status != 200:
        raise ServerUnavailableError(f"{url} has no model {model}: {str(config)[:200]}; name the ensemble with --model")
    return config


def _cut(source: Request, frames: int) -> Request:
    """Return so many frames of a recording, which is repeated as often as needed."""
    return Request(*(np.take(values, np.arange(frames), axis=0, mode="wrap") for values in vars(source).values()))
