"""Whether an answer is one that the request may get."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.fuzz import audio
from benchmarks.fuzz.case import Case, Expected
from benchmarks.fuzz.wire import Answer

REFUSALS = {
    "gRPC INVALID_ARGUMENT", "gRPC UNIMPLEMENTED", "gRPC NOT_FOUND", "gRPC PERMISSION_DENIED", "gRPC OUT_OF_RANGE",
    "gRPC RESOURCE_EXHAUSTED", "gRPC FAILED_PRECONDITION", "gRPC UNAUTHENTICATED", "gRPC ALREADY_EXISTS",
    "gRPC CANCELLED",
}  # fmt: skip
"""Answers over gRPC that blame the request; CANCELLED is what a deadline that has passed gets."""


@dataclass(frozen=True)
class Judge:
    """Knows the answers that came before the fuzzing."""

    references: list[audio.Arrays]
    hop_size: int

    def fault(self, case: Case, answer: Answer) -> str | None:
        """Say why an answer is wrong; None if it is right."""
        if answer.status in ("hang", "no server"):
            return answer.status
        if answer.status in ("closed", "silent"):
            return None if case.broken else f"connection closed without an answer: {answer.text}"
        if is_refusal(answer.status):
            wanted = case.expected in (Expected.GOOD, Expected.VALID)
            return f"refused: {answer.text}" if wanted else None
        if not is_success(answer.status):
            return answer.text or "not of the client's class"
        if case.expected is Expected.ANSWERED:
            return None
        if case.expected is Expected.REFUSED:
            return "accepted, though it is wrong"
        return self._audio_fault(case, answer)

    def _audio_fault(self, case: Case, answer: Answer) -> str | None:
        try:
            made = audio.read_audio(answer)
        except ValueError as error:
            return str(error)
        if case.good is not None and not audio.same(made, self.references[case.good]):
            return "other audio than before the fuzzing"
        return audio.fault(made, case.frames, self.hop_size)


def is_refusal(status: str) -> bool:
    """Tell whether a status blames the request."""
    return status in REFUSALS or status.startswith("HTTP 4")


def is_success(status: str) -> bool:
    """Tell whether a status is a success."""
    return status == "gRPC OK" or status.startswith("HTTP 2")
