"""The error of a request that cannot be synthesised."""

from __future__ import annotations


class RequestError(ValueError):
    """A request holds something that cannot be synthesised; the message names tensor, expected, got and the fix."""
