"""Answers of the models, and the errors among them; staged beside `model.py`."""

import logging
from collections.abc import Mapping
from typing import Any

import triton_python_backend_utils as pb_utils

from .deadline import DeadlineError
from .loop import StoppedError

logger = logging.getLogger(__name__)


class TensorError(ValueError):
    """A model was given what does not fit; the message names tensor, expected, got and the fix."""


_CODES = {DeadlineError: "CANCELLED", StoppedError: "UNAVAILABLE", TensorError: "INVALID_ARG"}
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
    """Send the one answer of a request: tensors by name, or what went wrong, as `refusal` does."""
    if not isinstance(answer, Exception):
        try:
            made = response(answer)
        except Exception as error:  # noqa: BLE001 - without room for the tensors there is still room for an error
            made = refusal(error)
    else:
        made = refusal(answer, *invalid)
    sender.send(made, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
