"""The Triton model of a bare engine: requests that wait together are computed together, and each gets its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from preprocess import Settings
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.model_config import window_tensors
from sifigan_triton.repository.model_plan import plan_models
from sifigan_triton.repository.staging import stage_model
from sifigan_triton.server.triton_server import TritonServer
from tests.small_voice import small_voice

pytestmark = pytest.mark.server

KIND = ENGINES["trt-fp32"]
SETTINGS = Settings(small_voice()[0], window=4, halo=2, f0_floor=400.0, max_batch_size=64)
RUNTIME = """
import time
import numpy as np

class Engine:
    def __init__(self, folder, precision, inputs):
        pass

    def run(self, windows):
        time.sleep(0.1)
        if np.isnan(windows["features"]).any():
            raise RuntimeError("no such sound")
        return windows["excitation"][:, :, :480] + windows["features"][:, :1, :1]
"""
"""An engine that takes as long for many windows as for one."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("models")
    (plan,) = (plan for plan in plan_models(SETTINGS, "", [KIND], KIND) if plan.name == KIND.model)
    stage_model(folder, replace(plan, files={"runtime.py": RUNTIME}))
    with TritonServer(folder, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


def infer(client: tritonclient.grpc.InferenceServerClient, windows: int, value: float) -> np.ndarray:
    """Send windows of zeros but for the features."""
    inputs = []
    for tensor in window_tensors(SETTINGS):
        kind = "FP32" if tensor.name in ("excitation", "features") else "INT32"
        fill = value if tensor.name == "features" else 0
        values = np.full((windows, *tensor.dims), fill, triton_to_np_dtype(kind))
        inputs.append(tritonclient.grpc.InferInput(tensor.name, values.shape, kind))
        inputs[-1].set_data_from_numpy(values)
    return client.infer(KIND.model, inputs).as_numpy("waveform")


def statistics(client: tritonclient.grpc.InferenceServerClient) -> Any:
    return client.get_inference_statistics(KIND.model).model_stats[0]


def windows_of(requests: list[tuple[int, float]]) -> int:
    return sum(windows for windows, _ in requests)


def test_concurrent_requests_share_executions(server: TritonServer) -> None:
    requests = [(1 + i % 3, float(i)) for i in range(1, 17)]
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        before = statistics(client)
        with ThreadPoolExecutor(len(requests)) as pool:
            results = list(pool.map(lambda request: infer(client, *request), requests))
        after = statistics(client)
        while after.inference_count - before.inference_count < windows_of(requests):  # counted behind the answers
            time.sleep(0.05)
            after = statistics(client)
    for (windows, value), result in zip(requests, results, strict=True):
        np.testing.assert_array_equal(result, np.full((windows, 1, 480), value))
    assert after.inference_count - before.inference_count == windows_of(requests)
    assert after.execution_count - before.execution_count < len(requests) / 2
    assert max(entry.batch_size for entry in after.batch_stats) > 3  # more than any request brought


def test_bad_windows_fail_alone(server: TritonServer) -> None:
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client, ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(infer, client, 2, np.nan if i == 3 else float(i)) for i in range(8)]
        for i, future in enumerate(futures):
            if i == 3:
                with pytest.raises(InferenceServerException, match="engine: no such sound"):
                    future.result()
            else:
                assert (future.result() == i).all()
