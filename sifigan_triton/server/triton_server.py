"""A Triton server on this machine, started on a model repository: the `nvidia-pytriton` wheel's, or NVIDIA's own."""

from __future__ import annotations

import http.client
import logging
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from sifigan_triton.repository.servable import ServableError, link_models, with_steps
from sifigan_triton.server.guarded_process import GuardedProcess
from sifigan_triton.server.log import explain, failed_models
from sifigan_triton.server.ports import PortLease
from sifigan_triton.server.triton_image import TritonFiles, find_triton
from sifigan_triton.server.triton_wheel import ServerError

__all__ = ["ServerError", "TritonServer"]

logger = logging.getLogger(__name__)

SHM_BYTES = 8 * 2**20
"""Shared memory that each Python model starts with: what 4,000 frames (20 s) need, so that only longer ones grow it."""
_EXIT_TIMEOUT_S = 5
CLOSED = ("model-repository", "trace", "logging")
"""Groups of Triton's API that nobody needs who asks for audio: they load code, write files and unload models."""
SHARED_MEMORY = "shared-memory"
"""The group in which clients register memory: who may register may read and write what other clients registered."""
LARGEST_HTTP = 2**31 - 1
"""Bytes of a body that Triton itself takes: the proxy before it says how large a call may be."""
_POLL_S = 0.1


class TritonServer:
    """A Triton server as a context manager: ready inside the `with` block, gone after it.

    Several servers may run at once on different ports. A server and its model processes end with this process, however
    that ends.
    """

    def __init__(
        self,
        model_repository: Path,
        *,
        host: str = "127.0.0.1",
        http_port: int = 8000,
        grpc_port: int = 8001,
        metrics_port: int = 8002,
        log_path: Path | None = None,
        ready_timeout_s: float = 180.0,
        models: Sequence[str] = (),
        client_shared_memory: bool = False,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Describe a server; `start` starts it.

        Args:
            model_repository: the folder with the models.
            host: the address to listen on; "0.0.0.0" listens on all of the machine's addresses.
            http_port: the port of the HTTP API; 0 picks a free one, here and for the other two.
            grpc_port: the port of the gRPC API.
            metrics_port: the port of the metrics.
            log_path: where the server's log goes, overwritten by each start; a private file by default.
            ready_timeout_s: how long, in seconds, `start` waits for all models to be loaded.
            models: load only these models and what they are composed of; all models by default.
            client_shared_memory: whether clients may hand over tensors in shared memory; whoever may can read and
                overwrite what other clients and the models hand over.
            arguments: further command line arguments of `tritonserver`.
            environment: further variables of its environment.

        """
        self.model_repository = Path(model_repository).resolve()
        self.host = host
        self._ports = PortLease(host, {"HTTP": http_port, "gRPC": grpc_port, "metrics": metrics_port})
        self._asked_log_path = log_path
        self._ready_timeout_s = ready_timeout_s
        self._models = tuple(models)
        self._client_shared_memory = client_shared_memory
        self._arguments = tuple(arguments)
        self._variables = dict(environment or {})
        self._directory: Path | None = None
        self._process: GuardedProcess | None = None
        # How the names of its files in /dev/shm begin.
        self.shm_prefix = f"sifigan_triton_{uuid.uuid4().hex[:12]}_"

    @property
    def http_url(self) -> str:
        """Address of the HTTP API, as "127.0.0.1:8000"."""
        return self._ports.url("HTTP")

    @property
    def grpc_url(self) -> str:
        """Address of the gRPC API, as "127.0.0.1:8001"."""
        return self._ports.url("gRPC")

    @property
    def metrics_url(self) -> str:
        """Address of the metrics, as "127.0.0.1:8002"; Prometheus reads /metrics there."""
        return self._ports.url("metrics")

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine reach it."""
        return self._ports.is_local

    @property
    def pid(self) -> int | None:
        """Process id of the running server, None when there is none."""
        return None if self._process is None else self._process.pid

    @property
    def exit_status(self) -> int | None:
        """Exit status of the server that was started, None while it runs; negative after a signal."""
        return None if self._process is None else self._process.exit_status

    def start(self, abandoned: threading.Event | None = None) -> None:
        """Start the server and return when all its models are ready.

        Args:
            abandoned: set by another thread or a signal when nobody wants the server any more.

        Raises:
            ServerError: if Triton or the repository is missing, a port is in use, a model does not load (naming the
                model and its error) or the server is not ready in time. Nothing is left running then.

        """
        if self._process is not None:
            raise ServerError(f"the server on {self.http_url} has been started already: stop it first")
        if not self.model_repository.is_dir():
            raise ServerError(
                f"the model repository {self.model_repository} is no folder: `sifigan-triton build` writes it"
            )
        if self._client_shared_memory and not self.is_local:
            raise ServerError(
                f"client shared memory is for this machine, and the server would listen on {self.host}: whoever may "
                "register memory can take over the server; leave one of the two out"
            )
        triton = find_triton()
        started = time.monotonic()
        try:
            self._ports.acquire()
            self._directory = Path(tempfile.mkdtemp(prefix="sifigan-triton-"))
            self._launch(triton, self._directory)
            self._wait_until_ready(started, abandoned)
        except BaseException:
            self.stop()
            raise
        logger.debug("Triton serves %s on %s in %.1f s", self.model_repository, self.host, time.monotonic() - started)

    def stop(self, at_once: bool = False) -> None:
        """Stop the server and remove what it left; does nothing when it is not running.

        Args:
            at_once: do not let it answer first what is under way, which a broken server may wait for in vain.

        """
        if self._process is not None:
            self._process.stop(0.0 if at_once else _EXIT_TIMEOUT_S + 10.0)
            self._process = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
        self._ports.release()

    def __enter__(self) -> TritonServer:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    def _launch(self, triton: TritonFiles, directory: Path) -> None:
        """Start the process."""
        self._log_path = self._asked_log_path or directory / "triton.log"
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        environment = triton.environment(directory) | self._variables
        self._process = GuardedProcess(
            self._command(triton, directory, environment),
            environment,
            log=self._log_path,
            folder=directory,
            shm_prefix=self.shm_prefix,
        )

    def _command(self, triton: TritonFiles, directory: Path, environment: Mapping[str, str]) -> list[str]:
        """Return the command line of the server."""
        flags = self._flags(triton, directory) | self._newer_flags(_help(triton.binary, environment))
        memory = f"--backend-config=python,shm-default-byte-size={SHM_BYTES}"
        # Our configurations are whole: without looking what may be missing, for which it would start the process of
        # each Python model twice, the server starts in a third of the time.
        whole = "--disable-auto-complete-config"
        return [
            str(triton.binary),
            *(f"--{key}={value}" for key, value in flags.items()),
            memory,
            whole,
            *self._arguments,
        ]

    def _flags(self, triton: TritonFiles, directory: Path) -> dict[str, object]:
        """Return the command line arguments of the server, as every release knows them."""
        return {
            "model-repository": self._link(directory / "models"),
            "backend-directory": triton.stage_backends(directory),
            "cache-directory": triton.caches,
            "backend-config": f"python,shm-region-prefix-name={self.shm_prefix}",
            "http-address": self.host,
            "grpc-address": f"[{self.host}]" if ":" in self.host else self.host,
            "metrics-address": self.host,
            "http-port": self._ports["HTTP"],
            "grpc-port": self._ports["gRPC"],
            "metrics-port": self._ports["metrics"],
            "strict-readiness": "true",
            "exit-timeout-secs": _EXIT_TIMEOUT_S,
            "model-control-mode": "none",
            **self._closed_doors(),
        }

    def _newer_flags(self, known: str) -> dict[str, object]:
        """Return the arguments that are needed where a server knows them, by what it says of itself."""
        flags: dict[str, object] = {"http-max-input-size": LARGEST_HTTP}
        if self._client_shared_memory:
            flags["allow-client-shm"] = "true"  # off by default as of release 26.04
        return {flag: value for flag, value in flags.items() if f"--{flag}" in known}

    def _link(self, folder: Path) -> Path:
        """Make the folder of links that the server reads: with control mode `none` it loads all that stands there."""
        repository = self.model_repository
        try:
            names = with_steps(repository, self._models) if self._models else {p.name for p in repository.iterdir()}
        except ServableError as error:
            raise ServerError(str(error)) from None
        return link_models(repository, names, folder)

    def _closed_doors(self) -> dict[str, str]:
        """Return the flags that close groups of the API, with a key that no caller learns (local users could)."""
        groups = ",".join(CLOSED if self._client_shared_memory else (*CLOSED, SHARED_MEMORY))
        rule = f"{groups}:closed={secrets.token_hex(16)}"
        return {"http-restricted-api": rule, "grpc-restricted-protocol": rule}

    def _wait_until_ready(self, started: float, abandoned: threading.Event | None) -> None:
        """Ask the server until it says that all models are loaded."""
        while not self._is_ready():
            self.check_alive("did not start")
            if abandoned is not None and abandoned.is_set():
                raise ServerError("the server was stopped while it started")
            if time.monotonic() - started > self._ready_timeout_s:
                raise self._failure(
                    f"was not ready within {self._ready_timeout_s:g} s (a longer ready_timeout_s gives it more time)"
                )
            time.sleep(_POLL_S)

    def _is_ready(self) -> bool:
        """Ask once whether all models are loaded and the metrics, which start last, are there."""
        return _answers(self.http_url, "/v2/health/ready") and _answers(self.metrics_url, "/metrics")

    def check_alive(self, what: str = "ended by itself") -> None:
        """Raise if the process has ended.

        Raises:
            ServerError: with the reason that the log gives.

        """
        if self._process is not None and self._process.exit_status is not None:
            raise self._failure(f"{what} (exit status {self._process.exit_status})")

    def _failure(self, what: str) -> ServerError:
        """Return the error that tells what went wrong and what the log says."""
        try:
            log = self._log_path.read_text(encoding="utf-8", errors="replace")
        except OSError:  # somebody has removed it
            log = ""
        reasons = explain(log)
        where = f"\nlog: {self._log_path}" if self._asked_log_path else ""
        said = f"the Triton server on {self.model_repository} {what}: {reasons}{where}"
        return ServerError(said, failed_models(log))


def _help(binary: Path, environment: Mapping[str, str]) -> str:
    """Return what a server says of its options; its exit status is 1 then."""
    done = subprocess.run([binary, "--help"], env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def _answers(url: str, path: str) -> bool:
    """Tell whether a GET succeeds; with http.client, because that goes through no proxy."""
    connection = http.client.HTTPConnection(url, timeout=5.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
