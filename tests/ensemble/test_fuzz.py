"""Requests good and hostile against the server as it ships: the short form of `python -m benchmarks.fuzz`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.fuzz.__main__ import configurations, watch
from benchmarks.fuzz.case import World
from benchmarks.fuzz.trial import GOOD_EVERY, KINDS, Trial
from benchmarks.fuzz.wire import Target
from benchmarks.served import Served
from sifigan_triton.build.model_repository import BuildOptions, build
from sifigan_triton.repository.engine_kinds import ENGINES
from tests.conftest import BUILT, DEMO, one_builder

pytestmark = pytest.mark.server

REQUESTS = 400
SEED = 15


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`sifigan-triton serve` in a process of its own, on the repository of `small_deployment`."""
    repository = BUILT / "demo-window-128-floor-100"
    with one_builder():
        build(BuildOptions(DEMO, repository, (ENGINES["openvino-fp32"],), None, 128, 100.0, max_batch_size=128))
    served = Served(repository, tmp_path_factory.mktemp("fuzz"))
    yield served
    served.stop()


def test_no_request_harms_the_server(served: Served) -> None:
    http_url, grpc_url = served.start()
    target = Target(http_url, grpc_url)
    trial = Trial(target, World(longest=130, inner=configurations(http_url)), SEED)
    trial.take_references()
    tally = trial.run(range(REQUESTS), at_once=4, check=watch(target, served, None))
    assert not tally.failures, "\n".join(map(str, tally.failures))
    assert tally.sent.total() == REQUESTS
    assert tally.sent["good"] == REQUESTS // GOOD_EVERY


def test_every_kind_is_a_function_of_seed_and_number() -> None:
    a, b = (Trial(Target("localhost:1", "localhost:2"), World(longest=5), SEED) for _ in range(2))
    cases = [a.case(index) for index in range(REQUESTS)]
    assert [b.case(index) for index in range(REQUESTS)] == cases
    assert {kind for kind, _ in cases} > {kind for kind, (share, _) in KINDS.items() if share >= 2}
