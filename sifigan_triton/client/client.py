"""Client of the ensemble: one call, features in, waveform out, over HTTP or gRPC, if wanted through shared memory."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from sifigan_triton.client.shared_memory import SharedMemory, SharedMemoryError, SharedMemoryKind
from sifigan_triton.client.step_statistics import StepStatistics

ENSEMBLE = "sifigan"
KINDS = {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64", np.dtype(np.bool_): "BOOL"}
"""Triton's names of the inputs' types."""
OUTPUTS = {"waveform": np.float32, "pcm16": np.int16}
_SEND_AGAIN = ("Unable to find shared memory region", "shared memory size specified with the request")
"""What a server says that was started anew, or whose voice makes more samples a frame than the one before."""


class SynthesisError(RuntimeError):
    """The server refused the request; the message is the server's."""


class ServerUnavailableError(ConnectionError):
    """No server answers at the address, or it does not serve the model."""


class SynthesisTimeoutError(TimeoutError):
    """The server did not answer in time."""


class SifiganClient:
    """Connection to a Triton server that serves the ensemble `sifigan`. Use one client per thread."""

    def __init__(
        self,
        url: str = "localhost:8000",
        model: str = ENSEMBLE,
        timeout_s: float = 300.0,
        shared_memory: SharedMemoryKind | None = None,
    ) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            url: `host:port` or `http://host:port` for HTTP, `grpc://host:port` for gRPC.
            model: name of the ensemble.
            timeout_s: longest wait for an answer, in seconds.
            shared_memory: "system" to hand tensors over in memory that a server on the same machine opens, "cuda" for
                memory of its first GPU; None sends them. The first answer of a client is sent in any case: it tells how
                long later ones are.

        Raises:
            ValueError: if the URL names another protocol, or there is no such kind of shared memory.

        """
        scheme, _, address = url.rpartition("://")
        if scheme not in ("", "http", "grpc"):
            raise ValueError(f"url is {url!r}, expected host:port, http://host:port or grpc://host:port")
        if shared_memory not in (None, "system", "cuda"):
            raise ValueError(f"shared_memory is {shared_memory!r}, expected 'system', 'cuda' or None")
        self.url, self.model, self.timeout_s = url, model, timeout_s
        self._api: ModuleType = tritonclient.grpc if scheme == "grpc" else tritonclient.http
        options = {} if scheme == "grpc" else {"connection_timeout": timeout_s, "network_timeout": timeout_s}
        self._client = self._api.InferenceServerClient(address, **options)
        self._memory = None if shared_memory is None else SharedMemory(self._client, shared_memory, url)
        self._samples_per_frame = 0  # not known yet

    def synthesize(
        self,
        f0: npt.ArrayLike,
        mcep: npt.ArrayLike,
        bap: npt.ArrayLike,
        f0_factor: float = 1.0,
        seed: int = 0,
        repair: bool = False,
    ) -> npt.NDArray[np.float32]:
        """Synthesise one utterance of any length with one call.

        Args:
            f0: (T,) in Hz, 0 where unvoiced.
            mcep: (T, 40), mel-cepstrum as SPTK gives it.
            bap: (T, 3), band aperiodicity in dB as WORLD gives it.
            f0_factor: factor on `f0`; 1 keeps the pitch, 2 is an octave up.
            seed: seed of the excitation's noise: the same seed gives the same audio.
            repair: whether the server may replace frames that hold NaN or Inf by the nearest finite ones.

        Returns:
            float32 (T * 120,), the waveform at 24 kHz, in [-1, 1].

        Raises:
            SynthesisError: if the server refuses the request, with its reason.
            ServerUnavailableError: if no server answers, or it does not serve the model.
            SynthesisTimeoutError: if the answer takes longer than `timeout_s`.
            SharedMemoryError: if client and server cannot share memory, where that was asked for.

        """
        waveform: npt.NDArray[np.float32] = self._infer("waveform", f0, mcep, bap, f0_factor, seed, repair)
        return waveform

    def synthesize_pcm16(
        self,
        f0: npt.ArrayLike,
        mcep: npt.ArrayLike,
        bap: npt.ArrayLike,
        f0_factor: float = 1.0,
        seed: int = 0,
        repair: bool = False,
    ) -> npt.NDArray[np.int16]:
        """Synthesise like `synthesize`, but let the server round to 16 bits: half the bytes of the answer."""
        pcm16: npt.NDArray[np.int16] = self._infer("pcm16", f0, mcep, bap, f0_factor, seed, repair)
        return pcm16

    def steps(self) -> dict[str, StepStatistics]:
        """Return what each model has done since the server started, by model name.

        Raises:
            ServerUnavailableError: if no server answers.

        """
        options = {"as_json": True} if self._api is tritonclient.grpc else {}
        try:
            statistics = self._client.get_inference_statistics(**options)
        except (InferenceServerException, OSError) as error:
            raise ServerUnavailableError(f"{self.url}: {error}") from None
        return {entry["name"]: StepStatistics.parse(entry) for entry in statistics["model_stats"]}

    def close(self) -> None:
        """Close the connection, and give shared memory back."""
        if self._memory is not None:
            self._memory.close()
        self._client.close()

    def __enter__(self) -> SifiganClient:
        """Return the client; it is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def _infer(
        self,
        output: str,
        f0: npt.ArrayLike,
        mcep: npt.ArrayLike,
        bap: npt.ArrayLike,
        f0_factor: float,
        seed: int,
        repair: bool,
    ) -> Any:
        tensors: dict[str, npt.NDArray[Any]] = {
            "f0": np.ascontiguousarray(f0, np.float32),
            "mcep": np.ascontiguousarray(mcep, np.float32),
            "bap": np.ascontiguousarray(bap, np.float32),
            "f0_factor": np.array([f0_factor], np.float32),
            "seed": np.array([seed], np.int64),
            "repair": np.array([repair], np.bool_),
        }
        memory = self._memory if all(values.size for values in tensors.values()) else None  # no regions of 0 bytes
        try:
            return self._send(tensors, output) if memory is None else self._share(memory, tensors, output)
        except InferenceServerException as error:
            raise self._explain(error) from None
        except TimeoutError:
            raise self._timeout() from None
        except SharedMemoryError:
            raise
        except (OSError, RuntimeError) as error:
            raise ServerUnavailableError(f"no Triton server answers at {self.url}: {error}") from None

    def _send(self, tensors: Mapping[str, npt.NDArray[Any]], output: str) -> npt.NDArray[Any]:
        """Send the tensors of a request; return one output."""
        inputs = self._inputs(tensors)
        for tensor, values in zip(inputs, tensors.values(), strict=True):
            tensor.set_data_from_numpy(values)
        answer: npt.NDArray[Any] = self._call(inputs, self._api.InferRequestedOutput(output)).as_numpy(output)
        return answer

    def _share(
        self, memory: SharedMemory, tensors: Mapping[str, npt.NDArray[Any]], output: str, again: bool = True
    ) -> npt.NDArray[Any]:
        """Hand the tensors of a request over in shared memory, once more if the server does not know it any more."""
        try:
            return self._share_once(memory, tensors, output)
        except InferenceServerException as error:
            if again and any(reason in str(error) for reason in _SEND_AGAIN):
                memory.forget()
                self._samples_per_frame = 0
                return self._share(memory, tensors, output, again=False)
            if not isinstance(self._explain(error), SynthesisError):
                memory.retire()
            raise
        except BaseException:
            memory.retire()  # the request may still be under way, reading and writing there
            raise

    def _share_once(
        self, memory: SharedMemory, tensors: Mapping[str, npt.NDArray[Any]], output: str
    ) -> npt.NDArray[Any]:
        """Write a request into shared memory, and read one output from there once its size can be foretold."""
        inputs, wanted = self._inputs(tensors), self._api.InferRequestedOutput(output)
        frames, kind = tensors["f0"].size, np.dtype(OUTPUTS[output])
        region, offsets = memory.put(tensors)
        for tensor, (name, values) in zip(inputs, tensors.items(), strict=True):
            tensor.set_shared_memory(region, values.nbytes, offsets[name])
        size = frames * self._samples_per_frame * kind.itemsize
        if size:
            wanted.set_shared_memory(memory.room(size), size)
        result = self._call(inputs, wanted)
        if size:
            described = result.get_output(output)
            (count,) = described["shape"] if isinstance(described, dict) else described.shape
            return memory.answer(kind, int(count))
        answer: npt.NDArray[Any] = result.as_numpy(output)
        self._samples_per_frame = answer.size // frames
        return answer

    def _inputs(self, tensors: Mapping[str, npt.NDArray[Any]]) -> list[Any]:
        return [self._api.InferInput(name, list(x.shape), KINDS[x.dtype]) for name, x in tensors.items()]

    def _call(self, inputs: list[Any], wanted: Any) -> Any:
        options = {"client_timeout": self.timeout_s} if self._api is tritonclient.grpc else {}
        return self._client.infer(self.model, inputs, outputs=[wanted], **options)

    def _timeout(self) -> SynthesisTimeoutError:
        return SynthesisTimeoutError(
            f"{self.url} did not answer within {self.timeout_s:g} s: raise timeout_s or send shorter utterances"
        )

    def _explain(self, error: InferenceServerException) -> Exception:
        """Turn tritonclient's exception into the one that says what the caller can do."""
        status, message = str(error.status() or ""), str(error.message() or error)
        if "DEADLINE_EXCEEDED" in status or "timed out" in message or status == "499":
            return self._timeout()
        if "UNAVAILABLE" in status or "unknown model" in message or status == "NOT_FOUND":
            return ServerUnavailableError(f"{self.url} cannot serve {self.model}: {message}")
        return SynthesisError(message)
