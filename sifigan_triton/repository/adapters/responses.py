"""Answers of a model, and the errors among them; staged beside `model.py`."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from typing import Any

import triton_python_backend_utils as pb_utils

from .call import Call
from .metrics import Metric, Page
from .refusals import KINDS, Kinds, NoRoomError, labels, refuse

logger = logging.getLogger(__name__)

SHARED_MEMORY = "/dev/shm"
"""Where the server and its Python models exchange tensors."""

Answer = Mapping[str, Any] | Exception
"""Tensors by name, or what went wrong."""


class Responses:
    """Makes and sends the answers of a model; each error among them is counted and logged."""

    def __init__(self, page: Page, foreseen: Kinds) -> None:
        """Register the metric; `foreseen`: the kinds of error that only this model has."""
        self._kinds = {**KINDS, **foreseen}
        text = "Requests answered with an error, by whose fault it is and why"
        self._refused = Metric(page, "sifigan_refusals_total", text, ("fault", "reason"), labels(self._kinds))

    def make(self, call: Call, answer: Answer) -> Any:
        """Return the answer of a request as Triton takes it."""
        if not isinstance(answer, Exception):
            return pb_utils.InferenceResponse([pb_utils.Tensor(name, values) for name, values in answer.items()])
        refusal = refuse(call, answer, self._kinds)
        self._refused.add(1, refusal.fault, refusal.reason)
        code = getattr(pb_utils.TritonError, refusal.code)
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(refusal.message, code))

    def send(self, sender: Any, call: Call, answer: Answer) -> None:
        """Send the one answer of a request.

        Nothing is raised: if even that fails, nobody can be told. A send that finds no room in shared memory cannot be
        repeated, so it is looked for before.
        """
        try:
            made = self.make(call, answer if isinstance(answer, Exception) else _fitting(answer))
            sender.send(made, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception:
            logger.exception("an answer could not be sent", extra={"request": call.id})


def _fitting(outputs: Mapping[str, Any]) -> Answer:
    """Return tensors for which there is room, or the error in their place."""
    needed, free = sum(values.nbytes for values in outputs.values()), shutil.disk_usage(SHARED_MEMORY).free
    if needed <= free:
        return outputs
    return NoRoomError(
        f"the answer needs {needed:,} bytes of the server's shared memory, which has {free:,} left: ask again later, "
        "or for less at once"
    )
