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
    """No server answers at the address, it does not serve the model or refuses for now, or the client has been closed.

    Attributes:
        temporary: whether the same call may succeed a little later, so that it is made again.
        reached: whether a server lives at the address, which another attempt would put work on.
        retry_after_s: the wait, in seconds, that the server asks for; 0 if it asks for none.

    """

    def __init__(
        self, message: str, *, temporary: bool = False, reached: bool = True, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(message)
        self.temporary, self.reached, self.retry_after_s = temporary, reached, retry_after_s


class SynthesisTimeoutError(TimeoutError):
    """No answer came in time, or the server says that the request's deadline has passed, and how far it came."""


class SharedMemoryError(RuntimeError):
    """Client and server cannot share memory; the message says why and what to do."""
