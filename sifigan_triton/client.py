"""Client of the ensemble: one call, features in, waveform out, over HTTP or gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

ENSEMBLE = "sifigan"


class SynthesisError(RuntimeError):
    """The server refused the request; the message is the server's."""


class ServerUnavailableError(ConnectionError):
    """No server answers at the address, or it does not serve the model."""


class SynthesisTimeoutError(TimeoutError):
    """The server did not answer in time."""


@dataclass(frozen=True)
class StepStatistics:
    """What one model of the server has done since the server started."""

    inferences: int
    """Batch items answered: windows, for an engine."""
    seconds: float
    """Time spent computing, queues not counted."""

    @classmethod
    def parse(cls, entry: dict[str, Any]) -> StepStatistics:
        """Read one entry of Triton's statistics; counts of zero are left out by gRPC."""
        inference = entry.get("inference_stats", {}).get("compute_infer", {})
        return cls(int(entry.get("inference_count", 0)), int(inference.get("ns", 0)) / 1e9)

    def __sub__(self, earlier: StepStatistics) -> StepStatistics:
        return StepStatistics(self.inferences - earlier.inferences, self.seconds - earlier.seconds)


def step_order(model: str) -> tuple[bool, bool]:
    """Return a key that sorts the models of the ensemble as the data passes them: the engine between the others."""
    return model == "postprocess", not model.startswith("preprocess")


class SifiganClient:
    """Connection to a Triton server that serves the ensemble `sifigan`. Use one client per thread."""

    def __init__(self, url: str = "localhost:8000", model: str = ENSEMBLE, timeout_s: float = 300.0) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            url: `host:port` or `http://host:port` for HTTP, `grpc://host:port` for gRPC.
            model: name of the ensemble.
            timeout_s: longest wait for an answer, in seconds.

        Raises:
            ValueError: if the URL names another protocol.

        """
        scheme, _, address = url.rpartition("://")
        if scheme not in ("", "http", "grpc"):
            raise ValueError(f"url is {url!r}, expected host:port, http://host:port or grpc://host:port")
        self.url, self.model, self.timeout_s = url, model, timeout_s
        self._api: ModuleType = tritonclient.grpc if scheme == "grpc" else tritonclient.http
        options = {} if scheme == "grpc" else {"connection_timeout": timeout_s, "network_timeout": timeout_s}
        self._client = self._api.InferenceServerClient(address, **options)

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
        """Close the connection."""
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
        inputs = [
            self._input(name, np.ascontiguousarray(values, dtype), kind)
            for name, values, dtype, kind in (
                ("f0", f0, np.float32, "FP32"),
                ("mcep", mcep, np.float32, "FP32"),
                ("bap", bap, np.float32, "FP32"),
                ("f0_factor", [f0_factor], np.float32, "FP32"),
                ("seed", [seed], np.int64, "INT64"),
                ("repair", [repair], np.bool_, "BOOL"),
            )
        ]
        options = {"client_timeout": self.timeout_s} if self._api is tritonclient.grpc else {}
        try:
            result = self._client.infer(self.model, inputs, outputs=[self._api.InferRequestedOutput(output)], **options)
        except InferenceServerException as error:
            raise self._explain(error) from None
        except TimeoutError:
            raise self._timeout() from None
        except (OSError, RuntimeError) as error:
            raise ServerUnavailableError(f"no Triton server answers at {self.url}: {error}") from None
        return result.as_numpy(output)

    def _input(self, name: str, values: npt.NDArray[Any], kind: str) -> Any:
        tensor = self._api.InferInput(name, list(values.shape), kind)
        tensor.set_data_from_numpy(values)
        return tensor

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
