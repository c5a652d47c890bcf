"""What the client raises, and what each error tells its caller to do."""

from __future__ import annotations


class SynthesisError(RuntimeError):
    """The server refused the request; the message is the server's."""


class FeaturesError(SynthesisError, ValueError):
    """The features cannot be synthesised: the message names the tensor, what was got, what is expected, and the fix.

    The client raises it before anything is sent for what it knows itself (number of axes, frames, data type), and in
    place of the server's words where the server's voice has another number of coefficients.
    """


class ServerUnavailableError(ConnectionError):
    """No server answers at the address, it does not serve the model, or the client has been closed."""


class SynthesisTimeoutError(TimeoutError):
    """No answer came in time, or the server says that the request's deadline has passed, and how far it came."""


class SharedMemoryError(RuntimeError):
    """Client and server cannot share memory; the message says why and what to do."""
