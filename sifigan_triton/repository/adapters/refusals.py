"""What is said of an error: to the client, on the page of metrics and in the log.

Pure Python, without Triton: staged beside `model.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from .call import Call
from .deadline import DeadlineError
from .loop import StoppedError

logger = logging.getLogger(__name__)

Fault = Literal["client", "load", "server"]
"""Whose fault it is, and so what helps: another request; more time, room or machines; a look at the log."""


class TensorError(ValueError):
    """A model was given what does not fit; the message names tensor, expected, got and the fix."""


class NoRoomError(Exception):
    """There is no room for an answer."""


class EngineError(Exception):
    """The engine has failed."""


@dataclass(frozen=True)
class Kind:
    """What errors of one type have in common."""

    code: str
    """Triton's name of it."""
    fault: Fault
    reasons: tuple[str, ...]
    """What it may be counted as. Where there are several, the error's own `reason` is one of them."""
    told: str = ""
    """What the client is told in place of the error's own text, which may hold paths; the log has that text."""

    def reason(self, error: Exception) -> str:
        """Return what an error is counted as."""
        own = getattr(error, "reason", None)
        return own if own in self.reasons else self.reasons[0]


Kinds = Mapping[type[Exception], Kind]

UNFORESEEN = Kind(
    "INTERNAL", "server", ("internal",), "the request failed in the server, whose log says why under the request's id"
)
KINDS: Kinds = {
    DeadlineError: Kind("CANCELLED", "load", ("deadline",)),
    StoppedError: Kind("UNAVAILABLE", "load", ("stopping",)),
    NoRoomError: Kind("UNAVAILABLE", "load", ("no_room",)),
    TensorError: Kind("INVALID_ARG", "client", ("shape",)),
    EngineError: Kind(
        "INTERNAL", "server", ("engine",), "the engine failed, the server's log says why under the request's id"
    ),
}
"""The kinds that every model has."""


@dataclass(frozen=True)
class Refusal:
    """An error as it is told."""

    code: str
    fault: Fault
    reason: str
    message: str


def refuse(call: Call, error: Exception, kinds: Kinds) -> Refusal:
    """Write the one log line of a request that failed, and return what the client is told.

    Args:
        call: the request.
        error: what went wrong.
        kinds: the kinds of error that are foreseen.

    """
    kind = next((kind for type_, kind in kinds.items() if isinstance(error, type_)), UNFORESEEN)
    reason = kind.reason(error)
    logger.log(
        logging.ERROR if kind.fault == "server" else logging.WARNING,
        "%s",
        kind.told or error,
        extra={"request": call.id, "reason": reason, "seconds": round(call.seconds, 3)},
        exc_info=error if kind.told else None,
    )
    return Refusal(kind.code, kind.fault, reason, f"{kind.told or error} (request {call.id})")


def labels(kinds: Kinds) -> Iterator[tuple[str, str]]:
    """Give fault and reason of all that may be refused: no more than this ever stands on the page of metrics."""
    for kind in (*kinds.values(), UNFORESEEN):
        for reason in kind.reasons:
            yield kind.fault, reason
