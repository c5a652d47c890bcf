"""The Triton model of a bare engine: the windows of all requests take turns, and each request gets its own."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from preprocess import Settings
from sifigan_triton.repository.engine_kinds import ENGINES, EngineKind
from sifigan_triton.repository.model_config import window_tensors
from sifigan_triton.repository.model_plan import plan_models
from sifigan_triton.repository.staging import stage_model
from sifigan_triton.server.triton_server import TritonServer
from tests.metrics_page import soon, total
from tests.small_voice import small_voice

pytestmark = pytest.mark.server

TOGETHER, ALONE = ENGINES["trt-fp32"], ENGINES["trt-fp16"]
"""An engine that takes as long for sixteen windows as for one, and one that takes them one by one."""
DYNAMIC = ENGINES["onnx-fp32"]
SETTINGS = Settings(small_voice()[0], window=4, halo=2, f0_floor=400.0, max_batch_size=64)
RUNTIME = """
import time
import numpy as np

class Engine:
    sized, batch = False, {batch}

    def __init__(self, folder, precision, inputs):
        self.calls = folder / "calls"

    def run(self, windows):
        with self.calls.open("a") as file:
            file.write(str(len(windows["features"])) + chr(10))
        time.sleep(0.1)
        if np.isnan(windows["features"]).any():
            raise RuntimeError("no such sound")
        return windows["excitation"][:, :, :480] + windows["features"][:, :1, :1]
"""
"""Writes down how many windows it computes in each call."""


@dataclass(frozen=True)
class Served:
    """A server with both engines."""

    server: TritonServer
    folder: Path

    def calls(self, kind: EngineKind) -> list[int]:
        """Return how many windows each call of an engine computed so far."""
        file = self.folder / kind.model / "1" / "calls"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def counter(self, name: str, kind: EngineKind) -> float:
        """Return the sum of an engine's counters of a name."""
        return total(self.server.metrics_url, name, model=kind.model)

    def infer(self, kind: EngineKind, windows: int, value: float) -> np.ndarray:
        """Send windows of zeros but for the features; all of their frames are wanted."""
        inputs = []
        for tensor in window_tensors(SETTINGS):
            dtype = "FP32" if tensor.name in ("excitation", "features") else "INT32"
            fill = value if tensor.name == "features" else 0
            values = np.full((windows, *tensor.dims), fill, triton_to_np_dtype(dtype))
            if tensor.name == "bounds":
                values[:] = 2, 6  # behind the halo, as many as the window has
            inputs.append(tritonclient.grpc.InferInput(tensor.name, values.shape, dtype))
            inputs[-1].set_data_from_numpy(values)
        with tritonclient.grpc.InferenceServerClient(self.server.grpc_url) as client:
            return client.infer(kind.model, inputs).as_numpy("waveform")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("models")
    batches = {TOGETHER.model: 16, ALONE.model: 1, DYNAMIC.model: 1}
    for plan in plan_models(SETTINGS, "", [TOGETHER, ALONE, DYNAMIC], TOGETHER):
        if plan.name in batches:
            files = {**plan.files, "runtime.py": RUNTIME.format(batch=batches[plan.name])}
            stage_model(folder, replace(plan, files=files))
    with TritonServer(folder, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield Served(running, folder)


def test_windows_that_wait_together_are_computed_together(served: Served) -> None:
    requests = [(1 + i % 3, float(i)) for i in range(1, 17)]
    before, counters = len(served.calls(TOGETHER)), ("sifigan_engine_windows_total", "sifigan_requests_total")
    windows_before, requests_before = (served.counter(name, TOGETHER) for name in counters)
    with ThreadPoolExecutor(len(requests)) as pool:
        results = list(pool.map(lambda request: served.infer(TOGETHER, *request), requests))
    for (windows, value), result in zip(requests, results, strict=True):
        np.testing.assert_array_equal(result, np.full((windows, 1, 480), value))
    calls, windows = served.calls(TOGETHER)[before:], sum(windows for windows, _ in requests)
    assert sum(calls) == windows
    assert len(calls) < len(requests) / 2
    assert 3 < max(calls) <= 16  # more than any request brought, no more than the engine takes
    for name, expected in ((counters[0], windows_before + windows), (counters[1], requests_before + len(requests))):
        assert soon(lambda name=name: served.counter(name, TOGETHER), expected) == expected


@pytest.mark.parametrize("kind", [TOGETHER, ALONE], ids=["together", "one-by-one"])
def test_bad_windows_fail_alone(served: Served, kind: EngineKind) -> None:
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(served.infer, kind, 2, np.nan if i == 3 else float(i)) for i in range(8)]
        for i, future in enumerate(futures):
            if i == 3:
                with pytest.raises(
                    InferenceServerException,
                    match=r"the engine failed, the server's log says why under the request's id \(request \w+\)",
                ):
                    future.result()
            else:
                np.testing.assert_array_equal(future.result(), np.full((2, 1, 480), i))


def test_one_window_is_answered_before_the_thirty_in_front_of_it(served: Served) -> None:
    before = len(served.calls(ALONE))
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(served.infer, ALONE, 30, 1.0)
        while len(served.calls(ALONE)) == before:
            time.sleep(0.01)
        asked = len(served.calls(ALONE))
        np.testing.assert_array_equal(served.infer(ALONE, 1, 2.0), np.full((1, 1, 480), 2.0))
        answered, was_done = len(served.calls(ALONE)), long.done()
        np.testing.assert_array_equal(long.result(), np.full((30, 1, 480), 1.0))
    assert not was_done
    assert served.calls(ALONE)[before:] == 31 * [1]
    assert answered - asked <= 6  # its own turn comes at once; the rest is how long a request is on its way


def utterance(served: Served, frames: int, offsets: int, samples: int) -> np.ndarray:
    """Send an utterance of zeros to the engine for any length."""
    shapes = {"excitation": (1, 1, samples), "features": (1, 43, frames), "offsets": (1, 10, offsets)}
    inputs = []
    for name, shape in shapes.items():
        dtype = "INT32" if name == "offsets" else "FP32"
        inputs.append(tritonclient.grpc.InferInput(name, shape, dtype))
        inputs[-1].set_data_from_numpy(np.zeros(shape, triton_to_np_dtype(dtype)))
    with tritonclient.grpc.InferenceServerClient(served.server.grpc_url) as client:
        return client.infer(DYNAMIC.model, inputs, client_timeout=30.0).as_numpy("waveform")


@pytest.mark.parametrize(
    "lengths",
    [(0, 0, 0), (8, 7, 960), (8, 8, 959), (8, 8, 16), (4, 8, 960)],
    ids=lambda lengths: "-".join(map(str, lengths)),
)
def test_lengths_that_differ_are_refused(served: Served, lengths: tuple[int, int, int]) -> None:
    frames, offsets, samples = lengths
    got = re.escape(f"{{'features': {frames}, 'offsets': {offsets}, 'excitation': {samples}}}")
    with pytest.raises(InferenceServerException, match=rf"INVALID_ARGUMENT.* are {got}, expected at least one frame"):
        utterance(served, *lengths)
    assert utterance(served, 4, 4, 480).shape == (1, 1, 480)


@pytest.mark.parametrize("windows", [0, 65])
def test_a_wrong_number_of_windows_is_refused(served: Served, windows: int) -> None:
    with pytest.raises(InferenceServerException, match="INVALID_ARGUMENT"):
        served.infer(ALONE, windows, 1.0)
    assert served.infer(ALONE, 1, 1.0).shape == (1, 1, 480)
