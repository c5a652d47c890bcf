"""Send the requests, judge the answers, count."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from benchmarks.fuzz import audio, good, grpc_kinds, http_kinds, json_text, tensors
from benchmarks.fuzz.case import Case, Kinds, World
from benchmarks.fuzz.good import good_cases
from benchmarks.fuzz.judge import Judge
from benchmarks.fuzz.wire import Answer, Target

logger = logging.getLogger(__name__)

KINDS: Kinds = {**good.KINDS, **tensors.KINDS, **json_text.KINDS, **http_kinds.KINDS, **grpc_kinds.KINDS}
GOOD = "good"
GOOD_EVERY = 10
"""One request in so many is a good one."""


@dataclass(frozen=True)
class Failure:
    """An answer that was wrong."""

    index: int
    kind: str
    case: Case
    answer: Answer
    reason: str

    def __str__(self) -> str:
        """Return a line of the report."""
        note = f" ({self.case.note})" if self.case.note else ""
        return f"--only {self.index}: {self.kind}{note}: {self.answer.status}: {self.reason}"


@dataclass
class Tally:
    """What came back."""

    sent: Counter[str] = field(default_factory=Counter)
    answers: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    failures: list[Failure] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, 0)

    def add(self, failure: Failure) -> None:
        """Log a failure and keep it."""
        logger.warning("%s", failure)
        self.failures.append(failure)

    def table(self) -> str:
        """Return the answers by kind, as a table of Markdown."""
        lines = ["| kind | sent | answers | wrong |", "| --- | ---: | --- | ---: |"]
        wrong = Counter(failure.kind for failure in self.failures)
        for kind in sorted(self.sent):
            answers = ", ".join(f"{status} {count:,}" for status, count in self.answers[kind].most_common())
            lines.append(f"| {kind} | {self.sent[kind]:,} | {answers} | {wrong[kind]:,} |")
        total: Counter[str] = sum(self.answers.values(), Counter())
        answers = ", ".join(f"{status} {count:,}" for status, count in total.most_common())
        return "\n".join([*lines, f"| all | {self.sent.total():,} | {answers} | {len(self.failures):,} |"])


class Trial:
    """The requests of a seed against one server."""

    def __init__(self, target: Target, world: World, seed: int) -> None:
        """Prepare; nothing is sent yet."""
        self.target, self.world, self.seed = target, world, seed
        self._good = good_cases(world)
        weights = np.array([weight for weight, _ in KINDS.values()])
        self._names, self._shares = list(KINDS), weights / weights.sum()

    def case(self, index: int) -> tuple[str, Case]:
        """Return a request by its number: it depends on the seed and the number only."""
        if index % GOOD_EVERY == GOOD_EVERY - 1:
            return GOOD, self._good[index // GOOD_EVERY % len(self._good)]
        random = np.random.default_rng((self.seed, index))
        name = str(random.choice(self._names, p=self._shares))
        return name, KINDS[name][1](random, self.world)

    def take_references(self) -> None:
        """Ask for the good ones before anything else is sent.

        Raises:
            ValueError: if one of them is refused.

        """
        answers = [self.target.send(case.wire) for case in self._good]
        references = []
        for case, answer in zip(self._good, answers, strict=True):
            try:
                references.append(audio.read_audio(answer))
            except ValueError as error:
                raise ValueError(f"good request {case.good}: {answer.status} {answer.text}: {error}") from None
        made = references[0]["waveform"]
        self.judge = Judge(references, made.size // self._good[0].frames)

    def run(self, indices: Sequence[int], at_once: int, check: Callable[[], str | None]) -> Tally:
        """Send requests, some at once; those that were on their way when the server died are sent again, one by one.

        Args:
            indices: which.
            at_once: how many threads send.
            check: says what has become of the server since it was last asked, having seen to it that there is one.

        """
        tally = Tally()
        with ThreadPoolExecutor(at_once) as pool:
            for start in range(0, len(indices), 4 * at_once):
                group = indices[start : start + 4 * at_once]
                results = list(pool.map(self._send, group))
                died = check()
                if died:
                    results = [self._alone(index, check) for index in group]
                self._count(tally, results)
                if died and not any(result[4] for result in results):
                    index, kind, case, answer, _ = results[0]
                    reason = f"{died}, with {group[0]} to {group[-1]} on their way; by none of them alone"
                    tally.add(Failure(index, kind, case, answer, reason))
        return tally

    def _send(self, index: int) -> tuple[int, str, Case, Answer, str | None]:
        kind, case = self.case(index)
        answer = self.target.send(case.wire)
        return index, kind, case, answer, self.judge.fault(case, answer)

    def _alone(self, index: int, check: Callable[[], str | None]) -> tuple[int, str, Case, Answer, str | None]:
        *sent, fault = self._send(index)
        died = check()
        return (*sent, died or fault)  # type: ignore[return-value]

    def _count(self, tally: Tally, results: Iterable[tuple[int, str, Case, Answer, str | None]]) -> None:
        for index, kind, case, answer, fault in results:
            tally.sent[kind] += 1
            tally.answers[kind][answer.status] += 1
            tally.slowest = max(tally.slowest, (answer.seconds, index))
            if fault:
                tally.add(Failure(index, kind, case, answer, fault))
