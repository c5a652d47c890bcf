"""Answers of the models, and the errors among them; staged beside `model.py`."""

import logging
from collections.abc import Mapping
from typing import Any

import triton_python_backend_utils as pb_utils

from .deadline import DeadlineError
from .loop import StoppedError

logger = logging.getLogger(__name__)

_CODES = {DeadlineError: "CANCELLED", StoppedError: "UNAVAILABLE", ValueError: "INVALID_ARG"}
"""How Triton calls what a client can do something about; all else is INTERNAL."""


def response(outputs: Mapping[str, Any]) -> Any:
    """Return an answer of tensors, by name."""
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, values) for name, values in outputs.items()])


def refusal(error: Exception) -> Any:
    """Return an error as the answer; what nobody foresaw is logged with its traceback."""
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "INTERNAL")
    if code == "INTERNAL":
        logger.error("a request failed", exc_info=error)
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), getattr(pb_utils.TritonError, code)))


def send(sender: Any, answer: Any) -> None:
    """Send the one answer of a request."""
    sender.send(answer, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
