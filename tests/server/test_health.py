"""The health check: what it asks, what it believes, and the faults of a real server that it has to see."""

from __future__ import annotations

import http.server
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocess import Settings, Voice, preprocess
from sifigan_triton.cli.main import main
from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.model_plan import plan_models
from sifigan_triton.repository.staging import stage_model
from sifigan_triton.server import health
from sifigan_triton.server.health import AbsentError, Probe, UnhealthyError, check, probe
from sifigan_triton.server.triton_server import TritonServer
from tests.conftest import ROOT, Deployment
from tests.small_voice import small_settings, small_voice
from tests.stopwatch import stopwatch
from tests.toy_models import IDENTITY, write_engine

HOP = 120
SAMPLES = [0.01 * math.sin(index) for index in range(4 * HOP)]
SIFIGAN = {
    "inputs": [
        {"name": "f0", "datatype": "FP32", "shape": [-1]},
        {"name": "mcep", "datatype": "FP32", "shape": [-1, 40]},
        {"name": "bap", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "seed", "datatype": "INT64", "shape": [1]},
    ]
}
OLDER = {
    "inputs": [
        {"name": f"INPUT__{i}", "datatype": "FP32", "shape": [-1, rows, -1]} for i, rows in enumerate((1, 43, 4))
    ]
}
CONFIGS: dict[str, Any] = {
    "sifigan": {"ensemble_scheduling": {"step": [{"model_name": "engine"}, {"model_name": "postprocess"}]}},
    "sifigan-tensors": {"ensemble_scheduling": {"step": [{"model_name": "engine"}]}},
    "engine": {"instance_group": [{"count": 1, "gpus": [], "kind": "KIND_CPU"}]},
    "postprocess": {"parameters": {"hop_size": {"string_value": str(HOP)}}},
}
REFUSAL = (400, {"error": "in ensemble 'sifigan-tensors', INPUT__0 and INPUT__2 missing, expected INPUT__0, ..."})


def waveform(samples: Any) -> tuple[int, Any]:
    """Return an answer with these samples."""
    return 200, {"outputs": [{"name": "waveform", "data": samples}]}


class StandIn:
    """A server that answers what a test puts here; it keeps what it was asked."""

    def __init__(self) -> None:
        self.address = ""
        self.models: dict[str, Any] = {"sifigan": SIFIGAN}
        self.configs = dict(CONFIGS)
        self.infer: Callable[[int], tuple[int, Any]] = lambda call: waveform(SAMPLES)
        self.asked: list[tuple[str, Any]] = []

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        name, _, what = path.removeprefix("/v2/models/").partition("/")
        if what == "infer":
            self.asked.append((name, body))
            return REFUSAL if name.endswith("-tensors") else self.infer(len(self.asked) - 1)
        unknown = (400, {"error": f"Request for unknown model: '{name}' is not found"})
        known = self.configs if what else self.models
        return (200, known[name]) if name in known else unknown


@pytest.fixture
def server() -> Iterator[StandIn]:
    """A stand-in for the server."""
    stand_in = StandIn()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(*stand_in.answer(self.path, None))

        def do_POST(self) -> None:
            self._answer(*stand_in.answer(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def _answer(self, status: int, body: Any) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        stand_in.address = f"127.0.0.1:{listening.server_port}"
        yield stand_in
        listening.shutdown()


# What it asks


def test_request_is_voiced_small_named_and_ends_with_us(server: StandIn) -> None:
    probe(server.address, "sifigan", 20.0)
    _, body = server.asked[0]
    tensors = {tensor["name"]: tensor for tensor in body["inputs"]}
    assert {name: tensor["shape"] for name, tensor in tensors.items()} == {"f0": [4], "mcep": [4, 40], "bap": [4, 3]}
    assert any(tensors["f0"]["data"])
    assert not all(tensors["f0"]["data"])
    assert body["id"] == "health"
    assert 15e6 < body["parameters"]["timeout"] <= 20e6
    assert len(json.dumps(body)) < 4096


@pytest.mark.parametrize("voice", ["demo_voice", "full_voice"])
@pytest.mark.parametrize("f0_floor", [1.0, 70.0, 1000.0])
def test_every_voice_takes_the_features(voice: str, f0_floor: float, request: pytest.FixtureRequest) -> None:
    described: Voice = request.getfixturevalue(voice)[0]
    settings = Settings(described, 32, 16, f0_floor, 8)
    f0 = np.array(health.F0_HZ, np.float32)
    windows = preprocess(f0, np.zeros((4, 40), np.float32), np.zeros((4, 3), np.float32), settings)
    assert np.abs(windows.features).max() < 10.0  # standard deviations; recordings reach 11, 50 are allowed


@pytest.mark.parametrize(
    ("groups", "calls"),
    [
        ([], 2),
        ([{"count": 1, "gpus": []}], 2),
        ([{"count": 3, "gpus": []}], 6),
        ([{"count": 2, "gpus": [0, 1]}, {"count": 1}], 10),
    ],
    ids=["unsaid", "one", "three", "two on each of two GPUs and one"],
)
def test_every_instance_is_asked_twice(server: StandIn, groups: list[Any], calls: int) -> None:
    server.configs["engine"] = {"instance_group": groups}
    probe(server.address, "sifigan", 20.0)
    assert len(server.asked) == calls


def test_older_ensemble_is_asked_where_there_is_one(server: StandIn) -> None:
    assert [each.model for each in check(server.address, (), 20.0)] == ["sifigan"]
    server.models["sifigan-tensors"] = OLDER
    assert [each.model for each in check(server.address, (), 20.0)] == ["sifigan", "sifigan-tensors"]
    name, body = server.asked[-1]
    assert (name, [tensor["shape"] for tensor in body["inputs"]]) == ("sifigan-tensors", [[1, 43, 1]])


def test_every_voice_is_asked(server: StandIn) -> None:
    """The voices are those that the server's statistics tell: with several, or without one that is called `sifigan`."""
    names = (
        "sifigan-a",
        "sifigan-a-openvino-fp32",
        "sifigan-a-ensemble-openvino-fp32",
        "preprocess-a",
        "postprocess-a",
    )
    server.models |= {"sifigan-a": SIFIGAN, "sifigan-b": SIFIGAN, "sifigan-b-tensors": OLDER}
    server.configs |= {"sifigan-a": CONFIGS["sifigan"], "sifigan-b": CONFIGS["sifigan"], "sifigan-b-tensors": {}}
    server.models["stats"] = {"model_stats": [{"name": name} for name in ("sifigan", "postprocess", *names)]}
    assert [each.model for each in check(server.address, (), 20.0)] == ["sifigan", "sifigan-a"]
    others = ("postprocess-a", "sifigan-a", "postprocess-b", "sifigan-b", "sifigan-b-tensors", "postprocess-c")
    server.models["stats"] = {"model_stats": [{"name": name} for name in others]}
    assert [each.model for each in check(server.address, (), 20.0)] == ["sifigan-a", "sifigan-b", "sifigan-b-tensors"]


def test_named_ensembles_must_be_there(server: StandIn) -> None:
    with pytest.raises(AbsentError, match=r"no sifigan-tensors that is ready: Request for unknown model"):
        check(server.address, ["sifigan", "sifigan-tensors"], 20.0)


# What it believes


def changing(call: int) -> tuple[int, Any]:
    return waveform([value * (1.0 + call) for value in SAMPLES])


@pytest.mark.parametrize(
    ("infer", "message"),
    [
        (lambda call: waveform([*SAMPLES[:-1], math.nan]), "sifigan returned nan at sample 479, expected finite"),
        (lambda call: waveform([math.inf, *SAMPLES[1:]]), "sifigan returned inf at sample 0, expected finite"),
        (lambda call: waveform([]), "sifigan returned 0 samples for 4 frames, expected 480"),
        (lambda call: waveform(SAMPLES[:-4]), "sifigan returned 476 samples for 4 frames, expected 480"),
        (lambda call: waveform([0.0] * 480), "sifigan returned 480 times 0, expected sound"),
        (lambda call: waveform([1.5, *SAMPLES[1:]]), r"sifigan returned a sample of 1\.5, expected at most 1"),
        (changing, "sifigan returned other samples when it was asked the same again"),
        (lambda call: waveform(None), "sifigan returned no samples: "),
        (lambda call: (200, {}), "sifigan returned no samples: "),
        (lambda call: (200, b"<html>"), "answers <html>, expected JSON of a Triton server"),
        (
            lambda call: (500, {"error": "Stub process 'e'\n is not healthy."}),
            r"500: Stub process 'e' is not healthy\.$",
        ),
        (lambda call: (404, b"x" * 9999), r"answers 404: x{400} \.\.\.$"),
    ],
    ids=["NaN", "Inf", "nothing", "short", "silence", "loud", "changing", "null", "no outputs", "HTML", "dead", "long"],
)
def test_wrong_answers(server: StandIn, infer: Callable[[int], tuple[int, Any]], message: str) -> None:
    server.infer = infer
    with pytest.raises(UnhealthyError, match=message):
        probe(server.address, "sifigan", 20.0)


@pytest.mark.parametrize(
    ("models", "config"),
    [
        ({"inputs": [{}]}, CONFIGS["sifigan"]),
        ({"inputs": 5}, CONFIGS["sifigan"]),
        (SIFIGAN, {"ensemble_scheduling": []}),
        (SIFIGAN, {"instance_group": [{"count": "many"}]}),
        (SIFIGAN, {"parameters": {"hop_size": "120"}}),
    ],
)
def test_what_no_triton_says(server: StandIn, models: Any, config: Any) -> None:
    server.models["sifigan"], server.configs["sifigan"] = models, config
    with pytest.raises(UnhealthyError, match=r"what .* says of sifigan cannot be read \(.*\): is it Triton\?"):
        probe(server.address, "sifigan", 20.0)


def test_right_answers(server: StandIn) -> None:
    found = probe(server.address, "sifigan", 20.0)
    assert (found.model, found.samples) == ("sifigan", tuple(SAMPLES))
    again = probe(server.address, "sifigan", 20.0)
    assert (again.digest, again.is_alike(found)) == (found.digest, True)
    server.infer = lambda call: waveform([value + 1e-5 for value in SAMPLES])  # a GPU's rounding, in another batch
    rounded = probe(server.address, "sifigan", 20.0)
    assert (rounded.digest == found.digest, rounded.is_alike(found)) == (False, True)
    server.infer = lambda call: waveform([value + 1e-3 for value in SAMPLES])
    assert not probe(server.address, "sifigan", 20.0).is_alike(found)
    assert not Probe("sifigan", (), 0.0).is_alike(found)


def test_models_without_a_hop_give_whole_frames(server: StandIn) -> None:
    server.configs["postprocess"] = {}
    server.infer = lambda call: waveform(SAMPLES[:8])
    assert len(probe(server.address, "sifigan", 20.0).samples) == 8
    server.infer = lambda call: waveform(SAMPLES[:7])
    with pytest.raises(UnhealthyError, match="returned 7 samples for 4 frames, expected a multiple of 4"):
        probe(server.address, "sifigan", 20.0)


@pytest.mark.parametrize(
    "answer", [(200, {}), (400, {"error": "no room"}), (500, {"error": "INPUT__0 is not healthy"})]
)
def test_older_ensemble_has_to_refuse_with_reason(
    server: StandIn, answer: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.models["sifigan-tensors"] = OLDER
    monkeypatch.setattr(sys.modules[__name__], "REFUSAL", answer)
    with pytest.raises(UnhealthyError, match="expected a refusal that names INPUT__0 and INPUT__2"):
        check(server.address, (), 20.0)


def test_bare_models_are_no_ensembles(server: StandIn) -> None:
    server.models["sifigan"] = {"inputs": [{"name": "excitation", "datatype": "FP32", "shape": [1, -1]}]}
    with pytest.raises(UnhealthyError, match="sifigan does not take bap, f0, mcep: name an ensemble"):
        probe(server.address, "sifigan", 20.0)


# Busy, slow and absent servers


def test_a_busy_server_is_asked_again(server: StandIn) -> None:
    server.infer = lambda call: (503, {"error": "too many requests in flight"}) if call == 0 else waveform(SAMPLES)
    assert probe(server.address, "sifigan", 20.0).samples
    assert len(server.asked) == 3


def test_a_server_that_stays_busy_is_unhealthy(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PAUSE_S", 1.0)  # so that the last answer has nearly as long to come
    server.infer = lambda call: (503, {"error": "too many requests in flight"})
    with pytest.raises(UnhealthyError, match="answers 503: too many requests in flight"):
        probe(server.address, "sifigan", 1.9)


def test_all_models_share_the_time(server: StandIn) -> None:
    def slow(call: int) -> tuple[int, Any]:
        time.sleep(0.3)
        return waveform(SAMPLES)

    server.infer = slow
    server.models["again"], server.configs["again"] = SIFIGAN, CONFIGS["sifigan"]
    with stopwatch() as watch, pytest.raises(UnhealthyError, match=r"did not answer within .* s: a process hangs"):
        check(server.address, ["sifigan", "again"], 0.8)
    assert watch.seconds < 1.2


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "grpc://a:1", "https://a:1", "a:b", "", "a:1/x", "u@a:1", "a b:1", "::1:8"]
)
def test_wrong_addresses(address: str) -> None:
    with pytest.raises(ValueError, match=r"the address is .*, expected host:port"):
        probe(address, "sifigan", 1.0)


@pytest.mark.parametrize("form", ["{}", "http://{}"])
def test_addresses(server: StandIn, form: str) -> None:
    assert probe(form.format(server.address), "sifigan", 20.0).samples


def test_ipv6_is_written_in_brackets() -> None:
    with pytest.raises(UnhealthyError, match=r"http://\[::1\]:9/v2/models/sifigan does not answer"):
        probe("[::1]:9", "sifigan", 5.0)


# The command


def test_command_says_it_in_one_line(server: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    server.models["sifigan-tensors"] = OLDER
    assert main(["health", "--url", server.address]) == 0
    said = capsys.readouterr().out
    assert said.startswith("healthy: sifigan 480 samples, sifigan-tensors answers; ")
    server.infer = lambda call: (500, {"error": "Stub process is not healthy"})
    assert main(["health", "--url", server.address, "--model", "sifigan", "--timeout", "3"]) == 1
    said = capsys.readouterr().out
    assert re.match(r"unhealthy after [0-2]\.\d\d s: ", said)
    assert said.endswith("/v2/models/sifigan/infer answers 500: Stub process is not healthy\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_time_limits(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["health", "--timeout", text])
    assert "--timeout" in capsys.readouterr().err


def test_file_runs_by_itself(server: StandIn, tmp_path: Path) -> None:
    """As in the container: without the project's packages."""
    command = [sys.executable, "-I", "-S", str(ROOT / "sifigan_triton/server/health.py"), "--url"]
    for address, status in ((server.address, 0), ("127.0.0.1:9", 1), ("nowhere", 1)):
        done = subprocess.run([*command, address], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (status, "")
        assert done.stdout.startswith(("healthy: ", "unhealthy after ")[status])


# A real server


def stubs(server: TritonServer, model: str) -> list[int]:
    """Return the processes that run a Python model of a server."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and os.getsid(int(folder.name)) == server.pid:
                words = (folder / "cmdline").read_bytes().decode().split("\0")
                if "stub" in Path(words[0]).name and f"/{model}/" in words[1]:
                    found.append(int(folder.name))
        except OSError:
            pass  # it has just ended
    assert found
    return found


@contextmanager
def started(repository: Path, *models: str) -> Iterator[TritonServer]:
    """Run a server on free ports."""
    with TritonServer(repository, models=models, http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.mark.server
def test_real_server_gives_the_same_bits_every_time(small_deployment: Deployment) -> None:
    address = small_deployment.server.http_url
    first, older = check(address, (), 25.0)
    assert len(first.samples) == 4 * small_deployment.voice.hop_size
    assert (older.model, older.samples) == ("sifigan-tensors", ())
    assert {probe(address, "sifigan", 25.0).digest for _ in range(5)} == {first.digest}


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of a real repository, around a toy for an engine: it starts in no time."""
    repository, voice, kind = tmp_path_factory.mktemp("steps"), small_voice()[0], ENGINES["openvino-fp32"]
    settings = small_settings(voice)[0]
    for plan in plan_models(settings, "", [kind], kind):
        if plan.name == kind.model:
            write_engine(repository, plan.name, plan.config_text, settings.halo)
        else:
            stage_model(repository, plan)
    return repository


@pytest.mark.server
@pytest.mark.parametrize("model", ["preprocess", "sifigan-openvino-fp32", "postprocess", "preprocess-tensors"])
def test_dead_stubs(steps: Path, model: str) -> None:
    with started(steps) as server:
        assert [each.model for each in check(server.http_url, (), 25.0)] == ["sifigan", "sifigan-tensors"]
        (stub,) = stubs(server, model)
        os.kill(stub, signal.SIGKILL)
        time.sleep(0.5)
        with pytest.raises(UnhealthyError, match="is not healthy"):
            check(server.http_url, (), 25.0)


@pytest.mark.server
@pytest.mark.parametrize("model", ["preprocess", "sifigan-openvino-fp32", "postprocess"])
def test_stopped_stubs(steps: Path, model: str) -> None:
    """Triton misses a stub's sign of life after a second, or the answer does not come."""
    with started(steps) as server:
        check(server.http_url, (), 25.0)
        (stub,) = stubs(server, model)
        os.kill(stub, signal.SIGSTOP)
        try:
            with (
                stopwatch() as watch,
                pytest.raises(UnhealthyError, match=r"is not healthy|did not answer within 3 s: a process hangs"),
            ):
                check(server.http_url, (), 3.0)
        finally:
            os.kill(stub, signal.SIGCONT)
        assert watch.seconds < 4.0


TOYS = {
    "sound": "np.sin(np.arange(frames * 120))",
    "nan": "np.where(np.arange(frames * 120) == 7, np.nan, 0.5)",
    "silence": "np.zeros(frames * 120)",
    "short": "np.sin(np.arange(frames * 120 - 120))",
    "changing": "np.random.default_rng().uniform(-1.0, 1.0, frames * 120)",
}
TOY_CONFIG = """
backend: "python"
max_batch_size: 0
instance_group [ {{ kind: KIND_CPU count: {count} }} ]
input [ {{ name: "f0" data_type: TYPE_FP32 dims: [ -1 ] }},
        {{ name: "mcep" data_type: TYPE_FP32 dims: [ -1, 2 ] }},
        {{ name: "bap" data_type: TYPE_FP32 dims: [ -1, 1 ] }} ]
output [ {{ name: "waveform" data_type: TYPE_FP32 dims: [ -1 ] }} ]
parameters {{ key: "hop_size" value {{ string_value: "120" }} }}
"""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server of models that make what their names say, and of one whose two instances make sound."""
    repository = tmp_path_factory.mktemp("toys")
    for name, samples in {**TOYS, "two": TOYS["sound"]}.items():
        made = f"np.float32({samples.replace('frames', 'len(x)')})"
        code = IDENTITY.replace('"waveform", x', f'"waveform", {made}').replace(
            "\nclass", "\nimport numpy as np\n\nclass"
        )
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "1" / "model.py").write_text(code, encoding="utf-8")
        config = TOY_CONFIG.format(count=2 if name == "two" else 1)
        (repository / name / "config.pbtxt").write_text(config, encoding="utf-8")
    with started(repository) as server:
        yield server


@pytest.mark.server
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nan", "nan returned nan at sample 7, expected finite samples"),
        ("silence", "silence returned 480 times 0, expected sound"),
        ("short", "short returned 360 samples for 4 frames, expected 480"),
        ("changing", "changing returned other samples when it was asked the same again"),
    ],
)
def test_models_that_make_no_sound(toys: TritonServer, model: str, message: str) -> None:
    assert len(probe(toys.http_url, "sound", 25.0).samples) == 480
    with pytest.raises(UnhealthyError, match=message):
        probe(toys.http_url, model, 25.0)


@pytest.mark.server
def test_one_of_two_dead_instances_is_seen_every_time(toys: TritonServer) -> None:
    probe(toys.http_url, "two", 25.0)
    os.kill(stubs(toys, "two")[0], signal.SIGKILL)
    time.sleep(0.5)
    for _ in range(10):
        with pytest.raises(UnhealthyError, match="is not healthy"):
            probe(toys.http_url, "two", 25.0)
