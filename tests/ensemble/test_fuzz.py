"""Requests good and hostile against the server as it ships: the short form of `python -m benchmarks.fuzz`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from benchmarks.fuzz.__main__ import configurations, watch
from benchmarks.fuzz.call import Call, binary_post, grpc_raw, grpc_typed, post
from benchmarks.fuzz.case import World
from benchmarks.fuzz.judge import is_refusal
from benchmarks.fuzz.trial import GOOD_EVERY, KINDS, Trial
from benchmarks.fuzz.wire import Target, Wire
from benchmarks.served import Served
from sifigan_triton.build.model_repository import BuildOptions, build
from sifigan_triton.repository.engine_kinds import ENGINES
from tests.conftest import BUILT, DEMO, one_builder

pytestmark = pytest.mark.server

REQUESTS = 400
SEED = 15
Check = Callable[[], str | None]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trial, Check]]:
    """`sifigan-triton serve` in a process of its own, on the repository of `small_deployment`."""
    repository = BUILT / "demo-window-128-floor-100"
    with one_builder():
        build(BuildOptions(DEMO, repository, (ENGINES["openvino-fp32"],), None, 128, 100.0, max_batch_size=128))
    served = Served(repository, tmp_path_factory.mktemp("fuzz"))
    try:
        http_url, grpc_url = served.start()
        target = Target(http_url, grpc_url)
        trial = Trial(target, World(longest=130, inner=configurations(http_url)), SEED)
        trial.take_references()
        yield trial, watch(target, served, None)
    finally:
        served.stop()


def test_no_request_harms_the_server(started: tuple[Trial, Check]) -> None:
    trial, check = started
    tally = trial.run(range(REQUESTS), at_once=4, check=check)
    assert not tally.failures, "\n".join(map(str, tally.failures))
    assert tally.sent.total() == REQUESTS
    assert tally.sent["good"] == REQUESTS // GOOD_EVERY


def call_of(name: str, shape: tuple[int, ...], data: bytes = b"") -> Call:
    return Call.of(World().arrays(3)).with_tensor(name, shape=shape, data=data)


def json_of(shape: str, data: str, key: str = "shape") -> Wire:
    f0 = f'{{"name": "f0", "datatype": "FP32", "{key}": {shape}, "data": {data}}}'
    return post("/v2/models/sifigan/infer", f'{{"inputs": [{f0}]}}'.encode())


KILLERS = {
    "values behind a buffer of 0 bytes": json_of("[4611686018427387904]", "[0.5, 0.5, 0.5]"),
    "values behind a buffer of 4 bytes": json_of("[4611686018427387905]", f"[{'0.5,' * 100000}0.5]"),
    "more memory than there is": json_of("[9223372036854775807]", "[]"),
    "17 GB": json_of("[4294967297]", "[]"),
    "an escaped key": json_of("[9223372036854775807]", "[]", key="sh\\u0061pe"),
    "a key twice": json_of("[9223372036854775807]", '[], "shape": [3]'),
    "nested values": json_of("[1]", "[" * 100000 + "]" * 100000),
    "nested elsewhere": post("/v2/models/sifigan/infer", f'{{"x": {"[" * 1000000}'.encode()),
    "a binary tensor of 2^64 bytes": binary_post(call_of("f0", (2**62,))),
    "2^64 bytes over gRPC": grpc_raw(call_of("f0", (2**62,))),
    "2^64 bytes over gRPC, as numbers": grpc_typed(call_of("f0", (2**62,))),
    "rows over gRPC": grpc_raw(call_of("mcep", (2**62, 40))),
    "a negative size over gRPC": grpc_raw(call_of("f0", (-(2**63),))),
}
"""What ends a process of the server of the wheel, alone: its HTTP front end, or the model that is handed the tensor."""


@pytest.mark.parametrize("name", KILLERS)
def test_what_the_server_of_the_wheel_cannot_bear_is_kept_from_it(started: tuple[Trial, Check], name: str) -> None:
    trial, check = started
    answer = trial.target.send(KILLERS[name])
    assert check() is None
    assert is_refusal(answer.status), f"{answer.status}: {answer.text}"
    _, case = trial.case(GOOD_EVERY - 1)
    assert trial.judge.fault(case, trial.target.send(case.wire)) is None


def test_a_request_is_a_function_of_seed_and_number() -> None:
    a, b = (Trial(Target("localhost:1", "localhost:2"), World(longest=5), SEED) for _ in range(2))
    cases = [a.case(index) for index in range(REQUESTS)]
    assert [b.case(index) for index in range(REQUESTS)] == cases
    assert {kind for kind, _ in cases} > {kind for kind, (share, _) in KINDS.items() if share >= 2}
