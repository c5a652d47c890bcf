"""A loop whose tasks begin by themselves and end when a test says so."""

from __future__ import annotations

import threading
from queue import Queue

from sifigan_triton.repository.adapters.deadline import Deadline
from sifigan_triton.repository.adapters.loop import Batch, Job, Loop

PATIENCE = 20.0
"""Seconds until a test gives up what never comes."""


class Call:
    """Tasks that a thread of the loop has begun: they end when the test says so."""

    def __init__(self, batch: Batch) -> None:
        self.tasks = [(job.work, task) for job, task in batch]
        self.names = [name for name, _ in self.tasks]
        self.ended = threading.Event()


class Machine:
    """A loop whose tasks begin by themselves and end when the test ends them; a job's name is its work."""

    def __init__(self, batch: int = 1) -> None:
        self.calls: Queue[Call] = Queue()
        self.answers: dict[str, Queue[Exception | None]] = {}
        self.free = False
        self.loop = Loop(self._compute, batch)

    def _compute(self, batch: Batch) -> None:
        call = Call(batch)
        self.calls.put(call)
        assert self.free or call.ended.wait(PATIENCE)
        if "bad" in call.names:
            raise RuntimeError("no such sound")

    def submit(self, name: str, *costs: float, timeout_us: int = 0, fails: bool = False) -> None:
        queue = self.answers[name] = Queue()

        def answer(error: Exception | None) -> None:
            queue.put(error)
            if fails:
                raise BrokenPipeError("the client is gone")

        self.loop.submit(Job(name, range(len(costs)), costs, answer, Deadline.after(timeout_us)))

    def begun(self) -> Call:
        return self.calls.get(timeout=PATIENCE)

    def turn(self) -> str:
        """Let the next task begin and end; return the name of its job."""
        call = self.begun()
        call.ended.set()
        return call.names[0]

    def answer(self, name: str) -> Exception | None:
        return self.answers[name].get(timeout=PATIENCE)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        """End all tasks and the loop; nobody has got a second answer."""
        self.free = True
        while not self.calls.empty():
            self.calls.get().ended.set()
        self.loop.close()
        assert all(queue.qsize() <= 1 for queue in self.answers.values())
