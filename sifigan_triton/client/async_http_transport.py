"""Triton's HTTP protocol under asyncio, over `aiohttp`.

`tritonclient.http.aio` is not used: it knows no time-out of a call, hides the headers of a refusal, takes an answer of
any size, and brings gevent along.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from functools import cached_property
from http.client import HTTPException
from typing import Any

import aiohttp
import numpy.typing as npt
from yarl import URL

from sifigan_triton.client import http_messages
from sifigan_triton.client.address import Address
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.http_messages import HttpRequest, HttpResponse
from sifigan_triton.client.step_statistics import StepStatistics
from sifigan_triton.client.transport import Answer


class AsyncHttpTransport:
    """Connections to one server, as many as requests are under way at once; a cancelled request closes its own."""

    def __init__(self, address: Address) -> None:
        """Prepare; nothing is sent yet."""
        self._address = address

    async def infer(
        self, model: str, tensors: Mapping[str, npt.NDArray[Any]], output: str, deadline: Deadline
    ) -> Answer:
        """Return one output of a model."""
        request = http_messages.infer_request(model, tensors, output, {}, deadline)
        return http_messages.infer_answer(self._address, await self._ask(request, deadline, model), output, None)

    async def statistics(self, deadline: Deadline) -> dict[str, StepStatistics]:
        """Return Triton's statistics of every model, by model name."""
        return http_messages.statistics_answer(self._address, await self._ask(http_messages.STATISTICS, deadline))

    async def parameters(self, model: str, deadline: Deadline) -> dict[str, str]:
        """Return the parameters in a model's configuration."""
        response = await self._ask(http_messages.parameters_request(model), deadline, model)
        return http_messages.parameters_answer(self._address, response)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        """The connections, which belong to the event loop in which they are first needed."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},  # Triton would pack the audio
            timeout=aiohttp.ClientTimeout(),  # none: the deadline is the call's
            auto_decompress=False,
        )

    async def _ask(self, request: HttpRequest, deadline: Deadline, model: str = "") -> HttpResponse:
        """Send a request; return its answer, or raise what it stands for if it is none."""
        try:
            async with asyncio.timeout(deadline.left_s):
                response = await self._exchange(request)
        except TimeoutError:
            late = await asyncio.to_thread(self._address.silent, deadline.timeout_s)
            raise late from None
        except (OSError, HTTPException, UnicodeError) as error:  # UnicodeError: a host that cannot be one
            failure = await asyncio.to_thread(http_messages.no_answer, self._address, error)
            raise failure from None
        if response.status != 200:
            raise http_messages.refusal(self._address, response, model)
        return response

    async def _exchange(self, request: HttpRequest) -> HttpResponse:
        """Send a request; return what comes back. What aiohttp raises becomes what `http.client` would raise."""
        url = URL(f"http://{self._address.host_port}{request.path}", encoded=True)
        body = io.BytesIO(request.body) if request.body else None  # which is sent in pieces, unlike bytes
        try:
            async with self._session.request(
                request.method, url, data=body, headers=request.headers, allow_redirects=False
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return HttpResponse(response.status, headers, await _body(response))
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise ConnectionError(f"{error}") from None
        except aiohttp.ClientError as error:
            raise HTTPException(f"{error}") from None


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Read what was really sent, unless it is, or is announced to be, more than any answer of Triton."""
    size, pieces = response.content_length or 0, list[bytes]()
    if size <= http_messages.LONGEST_ANSWER:
        size = 0
        async for piece in response.content.iter_any():
            pieces.append(piece)
            size += len(piece)
            if size > http_messages.LONGEST_ANSWER:
                break
    if size > http_messages.LONGEST_ANSWER:
        raise http_messages.too_long(size)
    return b"".join(pieces)
