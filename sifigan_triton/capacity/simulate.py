"""A simulation of servers behind a balancer: each call passes what it passes in a real one.

A call goes to the replica with the fewest calls of a few that are drawn. Its proxy refuses it when it has as many in
flight as it takes. Then come the steps around the engine, which need one core, and the windows, in the order in which
`repository/adapters/loop.py` takes them. What needs more cores than there are shares them: all of it becomes slower
alike. `tests/capacity/test_simulate.py` holds the order of the windows to that of the real loop.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from sifigan_triton.capacity.service_times import ServiceTimes
from sifigan_triton.capacity.traffic import Traffic
from sifigan_triton.repository.adapters.loop import BESIDE
from sifigan_triton.server.front.config import LONG_BYTES, Limits

FRAME_BYTES = 176
"""Bytes of a frame in a call: F0, 40 mel-cepstral coefficients and 3 bands, FP32."""


@dataclass(frozen=True)
class Fleet:
    """The replicas and what stands in front of them."""

    replicas: int
    limits: Limits = field(default_factory=Limits)
    choices: int = 2
    """Replicas of which a balancer compares the calls in flight; Envoy draws two."""
    tries: int = 1
    """Replicas that a call is sent to while they refuse it."""
    on_one_machine: bool = False
    """Whether all replicas share the cores of one: as when several are tried on one machine."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of the calls."""

    latency_s: npt.NDArray[np.float64]
    """From the arrival of each call to its answer; NaN where it was refused."""
    utilisation: float
    """Share of the time of the cores, or of the GPUs, that was used."""
    seconds: float
    """From the first arrival to the last answer."""

    @property
    def refused(self) -> float:
        """Share of the calls that was refused."""
        return float(np.isnan(self.latency_s).mean())

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latency of those that were answered, in seconds."""
        return float(np.nanpercentile(self.latency_s, percent)) if self.refused < 1.0 else np.nan


def simulate(times: ServiceTimes, traffic: Traffic, fleet: Fleet, seed: int = 0) -> Outcome:
    """Let a fleet answer calls.

    Args:
        times: what work costs on a replica.
        traffic: the calls.
        fleet: the replicas.
        seed: seed of the balancer's draws.

    """
    clock = _Clock()
    shared = _Cores(clock, times.cores) if fleet.on_one_machine else None
    replicas = [_Replica(clock, times, fleet.limits, shared) for _ in range(fleet.replicas)]
    latency = np.full(traffic.arrivals.size, np.nan)
    random = np.random.default_rng(seed)
    choices = min(fleet.choices, fleet.replicas)
    drawn = random.integers(fleet.replicas, size=(traffic.arrivals.size, fleet.tries, choices))

    def answer(index: int) -> None:
        latency[index] = clock.now - traffic.arrivals[index]

    def arrive(index: int) -> None:
        call = _Call(int(traffic.frames[index]), partial(answer, index))
        for attempt in range(fleet.tries):
            if min((replicas[k] for k in drawn[index, attempt]), key=lambda one: one.in_flight).admit(call):
                return

    for index, due in enumerate(traffic.arrivals):
        clock.run_until(due)
        arrive(index)
    clock.run_until(np.inf)
    pools = {id(replica.engine): replica.engine for replica in replicas}.values()
    seconds = clock.last - float(traffic.arrivals[0])
    return Outcome(latency, sum(pool.used_s for pool in pools) / sum(pool.cores for pool in pools) / seconds, seconds)


class _Clock:
    """The moments at which something happens next."""

    def __init__(self) -> None:
        self.now = self.last = 0.0
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, _Cores, int]] = []

    def run_until(self, end: float) -> None:
        """Let happen what is due by then."""
        while self._due and self._due[0][0] <= end:
            due, _, cores, version = heapq.heappop(self._due)
            if version == cores.version:
                self.now = self.last = due
                cores.finish()
        self.now = end

    def expect(self, due: float, cores: _Cores) -> None:
        """Let the next task of some cores end at a moment, unless that changes."""
        heapq.heappush(self._due, (due, next(self._numbers), cores, cores.version))


class _Cores:
    """Cores (or a GPU) that tasks share: all go on at one pace, so that the order of their ends never changes."""

    def __init__(self, clock: _Clock, cores: int) -> None:
        self.cores, self.version, self.used_s = cores, 0, 0.0
        self._clock, self._since, self._progress, self._wanted = clock, 0.0, 0.0, 0
        self._tasks: list[tuple[float, int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def start(self, seconds: float, wanted: int, done: Callable[[], None]) -> None:
        """Begin a task that takes `seconds` if it has the cores that it wants."""
        self._advance()
        heapq.heappush(self._tasks, (self._progress + seconds, next(self._numbers), wanted, done))
        self._wanted += wanted
        self._expect()

    def finish(self) -> None:
        """End the task that is due."""
        self._advance()
        _, _, wanted, done = heapq.heappop(self._tasks)
        self._wanted -= wanted
        self._expect()
        done()

    @property
    def _pace(self) -> float:
        return min(1.0, self.cores / self._wanted) if self._wanted else 1.0

    def _advance(self) -> None:
        passed = self._clock.now - self._since
        self._progress += passed * self._pace
        self.used_s += passed * min(self._wanted, self.cores)
        self._since = self._clock.now

    def _expect(self) -> None:
        self.version += 1
        if self._tasks:
            self._clock.expect(self._clock.now + max(self._tasks[0][0] - self._progress, 0.0) / self._pace, self)


class _Call:
    """A call, with the windows that it needs."""

    __slots__ = ("answer", "costs", "frames", "left", "number", "taken", "windows")

    def __init__(self, frames: int, answer: Callable[[], None]) -> None:
        self.frames, self.answer = frames, answer
        self.windows: tuple[int, ...] = ()
        self.costs: list[float] = []
        self.left, self.taken, self.number = 0.0, 0, 0


class _Replica:
    """One server."""

    def __init__(self, clock: _Clock, times: ServiceTimes, limits: Limits, shared: _Cores | None) -> None:
        self._times, self._limits = times, limits
        self._cpu = shared or _Cores(clock, times.cores)
        self.engine = _Cores(clock, 1) if times.gpu else self._cpu
        self._wanted = 1 if times.gpu else times.cores
        self._counts = [0, 0]  # calls in flight: others, long ones
        self._numbers = itertools.count()
        self._waiting: list[_Call] = []
        self._owed = self._running = 0.0
        self._busy = [False, times.batch > 1 or not times.turns]  # the first thread, and the one beside it if any

    @property
    def in_flight(self) -> int:
        """Calls in flight."""
        return sum(self._counts)

    def admit(self, call: _Call) -> bool:
        """Take a call, or refuse it."""
        long = call.frames * FRAME_BYTES > LONG_BYTES
        if self._counts[long] >= (self._limits.long_in_flight if long else self._limits.in_flight):
            return False
        self._counts[long] += 1
        self._cpu.start(self._times.around(call.frames), 1, partial(self._submit, call))
        return True

    def _submit(self, call: _Call) -> None:
        call.windows, call.number = self._times.windows(call.frames), next(self._numbers)
        call.costs = [self._times.cost(size) for size in call.windows]
        call.left = sum(call.costs)
        self._waiting.append(call)
        self._work()

    def _work(self) -> None:
        for beside in (False, True):
            if self._busy[beside]:
                continue
            batch = self._pick(beside)
            if not beside:
                self._running = batch[0][1] if batch else 0.0
            if batch:
                self._busy[beside] = True
                seconds = self._times.call_s + sum(self._times.window_s[size] for _, _, size in batch)
                calls = list(dict.fromkeys(call for call, _, _ in batch))
                self.engine.start(seconds, self._wanted, partial(self._done, beside, calls))

    def _done(self, beside: bool, calls: list[_Call]) -> None:
        self._busy[beside] = False
        for call in calls:
            if call.taken < len(call.windows):
                self._waiting.append(call)
            else:
                self._counts[call.frames * FRAME_BYTES > LONG_BYTES] -= 1
                call.answer()
        self._work()

    def _pick(self, beside: bool) -> list[tuple[_Call, float, int]]:
        """Take the windows whose turn it is: the call, the cost and the frames of each."""
        batch: list[tuple[_Call, float, int]] = []
        calls, side = self._in_order(beside)
        for call in calls:
            while len(batch) < self._times.batch and call.taken < len(call.windows):
                cost = call.costs[call.taken]
                if batch and self._times.turns and cost != batch[0][1]:
                    break
                batch.append((call, cost, call.windows[call.taken]))
                call.taken += 1
                call.left -= cost
                self._owed += cost * side
        for call in {call for call, _, _ in batch}:
            self._waiting.remove(call)
        return batch

    def _in_order(self, beside: bool) -> tuple[list[_Call], int]:
        """Return the calls of which a thread may take windows, in the order of their turns, and which the first is."""
        if not self._times.turns:
            return sorted(self._waiting, key=lambda call: call.number), 0
        able = [call for call in self._waiting if not beside or self._may_run_beside(call)]
        calls = sorted(able, key=lambda call: (round(call.left, 6), call.number))
        oldest = min(self._waiting, key=lambda call: call.number, default=None)
        if not calls or calls[0] is oldest:
            return calls, 0
        if self._owed <= 0.0 or oldest not in calls:
            return calls, 1
        calls.remove(oldest)
        return [oldest, *calls], -1

    def _may_run_beside(self, call: _Call) -> bool:
        return len(call.windows) == 1 and call.costs[0] * BESIDE <= self._running
