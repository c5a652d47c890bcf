"""Answers of the models, and the errors among them; staged beside `model.py`."""

import logging
import shutil
from collections.abc import Mapping
from typing import Any

import triton_python_backend_utils as pb_utils

from .deadline import DeadlineError
from .loop import StoppedError

logger = logging.getLogger(__name__)

SHARED_MEMORY = "/dev/shm"
"""Where the server and its Python models exchange tensors."""


class TensorError(ValueError):
    """A model was given what does not fit; the message names tensor, expected, got and the fix."""


class NoRoomError(Exception):
    """There is no room for an answer."""


_CODES = {
    DeadlineError: "CANCELLED",
    StoppedError: "UNAVAILABLE",
    NoRoomError: "UNAVAILABLE",
    TensorError: "INVALID_ARG",
}
"""How Triton calls what a client can do something about."""


def response(outputs: Mapping[str, Any]) -> Any:
    """Return an answer of tensors, by name."""
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, values) for name, values in outputs.items()])


def refusal(error: Exception, *invalid: type[Exception]) -> Any:
    """Return an error as the answer; `invalid`: errors of the request itself. What nobody foresaw is logged."""
    codes = _CODES | dict.fromkeys(invalid, "INVALID_ARG")
    code = next((code for kind, code in codes.items() if isinstance(error, kind)), "INTERNAL")
    if code == "INTERNAL":
        logger.error("a request failed", exc_info=error)
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), getattr(pb_utils.TritonError, code)))


def send(sender: Any, answer: Mapping[str, Any] | Exception, *invalid: type[Exception]) -> None:
    """Send the one answer of a request: tensors by name, or what went wrong, as `refusal` does.

    Nothing is raised: if even that fails, nobody can be told. A send that finds no room in shared memory cannot be
    repeated, so it is looked for before.
    """
    try:
        if not isinstance(answer, Exception):
            needed, free = sum(values.nbytes for values in answer.values()), shutil.disk_usage(SHARED_MEMORY).free
            if needed > free:
                answer = NoRoomError(f"the answer needs {needed:,} bytes in {SHARED_MEMORY}, which has {free:,} left")
        made = refusal(answer, *invalid) if isinstance(answer, Exception) else response(answer)
        sender.send(made, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    except Exception:
        logger.exception("an answer could not be sent")
