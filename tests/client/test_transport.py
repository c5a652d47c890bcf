"""What an answer through shared memory has to be, and what becomes of memory whose request outlives `close`."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np
import pytest

from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.errors import SynthesisTimeoutError
from sifigan_triton.client.shared_memory import SharedMemory
from sifigan_triton.client.shared_requests import SharedRequests
from sifigan_triton.client.transport import Answer, Place, Transport, read_output


@pytest.mark.parametrize(("count", "fits"), [(8, True), (7, True), (9, False), (1 << 62, False)])
def test_answer_has_to_fit_the_memory_it_was_given(count: int, fits: bool) -> None:
    found, place = ("waveform", "FP32", [count]), Place("region", 0, 32)
    if fits:
        assert read_output("waveform", found, b"", place) == Answer(count, None)
    else:
        with pytest.raises(ValueError, match="bytes, but 32 have room"):
            read_output("waveform", found, b"", place)


def test_memory_of_a_request_that_outlives_close_is_given_back() -> None:
    known: set[str] = set()

    class Server:
        """Takes regions, and answers a request only after the client has been closed."""

        def register_system_shared_memory(self, name: str, *_: Any) -> None:
            known.add(name)

        def unregister_system_shared_memory(self, name: str, *_: Any) -> None:
            known.remove(name)

        def infer(self, *_: Any) -> Answer:
            assert known
            requests.close()
            assert known
            return Answer(4, np.zeros(4, np.float32))

    requests = SharedRequests(cast(Transport, Server()), "system", "here")
    requests.infer("sifigan", {"f0": np.zeros(2, np.float32)}, "waveform", Deadline(5.0))
    assert not known


def test_region_that_the_server_had_no_time_to_close_is_closed_later() -> None:
    known: set[str] = set()

    class Busy:
        """Takes regions, and lets go of one only where it is asked twice."""

        asked: ClassVar[list[str]] = []

        def register_system_shared_memory(self, name: str, *_: Any) -> None:
            known.add(name)

        def unregister_system_shared_memory(self, name: str, *_: Any) -> None:
            self.asked.append(name)
            if self.asked.count(name) < 2:
                raise SynthesisTimeoutError
            known.remove(name)

    memory = SharedMemory(cast(Transport, Busy()), "system", "here")
    for size in (1 << 16, 1 << 17):  # the second does not fit the first one's region
        memory.room(size, Deadline(5.0))
    memory.close()
    assert not known
