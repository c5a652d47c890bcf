"""The loop in which a model does the work of many requests: fair, within their deadlines, in threads of its own.

Half of the work goes to the request that is nearest to its end, the other half to the one that has waited longest. So a
short request is not stretched by long ones, a long one always moves on, however many short ones come, and requests of
one length are answered one behind the other instead of all late. A task is never interrupted. So a request of a single
task may run beside a task that costs at least twice as much, in a second thread: it would wait longer for the end of
that task than it takes itself.

Pure Python, without Triton: staged beside `model.py`.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .deadline import CAUTION, Deadline, Pace

logger = logging.getLogger(__name__)

BESIDE = 2.0
"""How much more than a single task another one costs that this may run beside."""


class StoppedError(Exception):
    """The server stops."""


@dataclass(eq=False)
class Job:
    """The work of one request."""

    work: Any
    """What the model needs for it."""
    tasks: Sequence[Any]
    """Parts of the work, in order; at least one."""
    costs: Sequence[float]
    """What each of them costs, in any unit."""
    answer: Callable[[Exception | None], None]
    """Called once, by any thread: when all is done, or with what went wrong."""
    deadline: Deadline = field(default_factory=Deadline)
    taken: int = 0
    """Tasks that were begun."""
    number: int = 0
    """Place in the order of arrival."""

    @property
    def progress(self) -> str:
        """How far the work went, in words."""
        return f"{self.taken} of {len(self.tasks)} windows were computed" if self.taken else "nothing was computed"

    @property
    def left(self) -> float:
        """What is left of it costs so much."""
        return sum(self.costs[self.taken :])

    @property
    def is_short(self) -> bool:
        """Whether it is a single task."""
        return len(self.tasks) == 1


Batch = list[tuple[Job, Any]]


class Loop:
    """Threads that take tasks of waiting jobs: one any task, another one the single tasks that may run beside it.

    What computes many tasks in one call fills the machine with them: then there is no second thread.
    """

    def __init__(self, compute: Callable[[Batch], None], batch: int = 1) -> None:
        """Start.

        Args:
            compute: does tasks, each beside its job; of one job never two at a time, but for those of one call. With
                a `batch` of 1 two threads may call it at a time, otherwise never.
            batch: most tasks in one call: their costs are equal.

        """
        self._compute, self._batch = compute, batch
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._numbers = itertools.count()
        self._owed = 0.0  # work that the oldest job lacks against that nearest to its end: above 0 it is next
        self._pace = Pace()
        self._running = 0.0  # cost of what the first thread does
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._run, args=(beside,), name=f"loop-{beside}", daemon=True)
            for beside in ((False, True) if batch == 1 else (False,))
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn."""
        with self._changed:
            if not self._stopped:
                job.number = next(self._numbers)
                self._waiting.append(job)
                self._changed.notify_all()
                return
        _answer(job, StoppedError("the server stops"))

    def close(self) -> None:
        """End with the tasks that run; jobs that still wait are answered with an error."""
        with self._changed:
            self._stopped = True
            left, self._waiting = self._waiting, []
            self._changed.notify_all()
        for job in left:
            _answer(job, StoppedError("the server stops"))
        for thread in self._threads:
            thread.join()

    def _run(self, beside: bool) -> None:
        while (taken := self._next(beside)) is not None:
            batch, cost = taken
            with self._pace.measuring(cost):
                errors = self._attempt(batch)
            if not beside:
                self._running = 0.0
            for job, error in errors.items():
                self._settle(job, error)

    def _attempt(self, batch: Batch) -> dict[Job, Exception | None]:
        """Do tasks; where that fails, those of each job on their own. Return what went wrong for each job."""
        jobs = list(dict.fromkeys(job for job, _ in batch))
        try:
            self._compute(batch)
        except Exception as error:
            if len(jobs) == 1:
                return {jobs[0]: error}
            logger.exception("the tasks of %d requests failed together, they are done one by one", len(jobs))
            errors: dict[Job, Exception | None] = {}
            for one in jobs:
                errors |= self._attempt([(job, task) for job, task in batch if job is one])
            return errors
        return dict.fromkeys(jobs)

    def _settle(self, job: Job, error: Exception | None) -> None:
        """Answer a job that is done or has failed; let another one wait for its next turn."""
        if error is None and job.taken < len(job.tasks):
            with self._changed:
                if not self._stopped:
                    self._waiting.append(job)
                    self._changed.notify_all()
                    return
            error = StoppedError("the server stops")
        _answer(job, error)

    def _next(self, beside: bool) -> tuple[Batch, float] | None:
        """Wait for tasks that a thread may do, and what they cost; None when the loop has been closed."""
        while True:
            with self._changed:
                late = self._late()
                for job in late:
                    self._waiting.remove(job)
                batch, cost = ([], 0.0) if late or self._stopped else self._pick(beside)
                if not late and not batch and not self._stopped:
                    self._changed.wait()
                    continue
                stopped = self._stopped
            for job in late:
                _answer(job, job.deadline.error(job.progress))
            if batch:
                return batch, cost
            if stopped:
                return None

    def _late(self) -> list[Job]:
        """Return the jobs whose deadline has passed or, while others wait too, would not be met: the others gain."""
        if len(self._waiting) == 1:
            return [job for job in self._waiting if job.deadline.has_passed]
        return [
            job
            for job in self._waiting
            if job.deadline.left_us <= self._pace.needs_us(job.left) * (1.0 if job.taken else CAUTION)
        ]

    def _pick(self, beside: bool) -> tuple[Batch, float]:
        """Take the tasks whose turn it is: as many of equal cost as go together. Return them and what they cost."""
        batch: Batch = []
        cost = 0.0
        jobs, side = self._in_order(beside)
        for job in jobs:
            while len(batch) < self._batch and job.taken < len(job.tasks):
                if batch and job.costs[job.taken] != cost:
                    break
                cost = job.costs[job.taken]
                batch.append((job, job.tasks[job.taken]))
                job.taken += 1
                self._owed += cost * side
        for job in {job for job, _ in batch}:
            self._waiting.remove(job)
        if not beside:
            self._running = cost
            if batch:
                self._changed.notify_all()  # what is short may now run beside it
        return batch, cost * len(batch)

    def _in_order(self, beside: bool) -> tuple[list[Job], int]:
        """Return the jobs of which a thread may do tasks, in the order of their turns, and what the first is.

        It is 1 for the one that is nearest to its end, -1 for the oldest, and 0 if that is the same one.
        """
        able = [job for job in self._waiting if not beside or self._may_run_beside(job)]
        jobs = sorted(able, key=lambda job: (job.left, job.number))
        oldest = min(self._waiting, key=lambda job: job.number, default=None)
        if not jobs or jobs[0] is oldest:
            return jobs, 0
        if self._owed <= 0.0 or oldest not in jobs:
            return jobs, 1
        jobs.remove(oldest)
        return [oldest, *jobs], -1

    def _may_run_beside(self, job: Job) -> bool:
        return job.is_short and job.costs[0] * BESIDE <= self._running


def _answer(job: Job, error: Exception | None) -> None:
    """Answer a job; where that fails, nobody can be told, and the others must still be served."""
    try:
        job.answer(error)
    except Exception:
        logger.exception("the answer of a request could not be sent")
