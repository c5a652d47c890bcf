"""What the serving container serves, by its environment variables.

    SIFIGAN_MODELS     models to load, separated by spaces, with what they are composed of (all that can be served)
    SIFIGAN_GPU        yes: stop when there is no GPU; no: leave out the models that need one (look)
    SIFIGAN_REPOSITORY s3://bucket/prefix: the current release of an object store; ...@RELEASE: that one. Nothing else
                       is served then, and what was fetched is kept in SIFIGAN_CACHE (a folder below TMPDIR)
    SIFIGAN_BUILT      repository that the service `build` wrote, served when it holds models (/models/repository)
    SIFIGAN_BAKED      repository that came with the image (/opt/sifigan/models)
    SIFIGAN_CLIENT_SHARED_MEMORY
                       yes: clients may register shared memory, and then read and overwrite that of others (no)
    SIFIGAN_HOST       address to listen on (0.0.0.0: every one of the container)
    HTTP_PORT, GRPC_PORT, METRICS_PORT
                       ports to listen on (8000, 8001, 8002)
    SIFIGAN_MAX_IN_FLIGHT, SIFIGAN_MAX_REQUEST_MB, SIFIGAN_GRACE
                       as the options of `serve` (8, 64, 30)
    TMPDIR             where the logs are written, which go to standard error as well (/tmp)

Standard library only (Python 3.10 or newer), as all that it imports: NVIDIA's image has no more.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from sifigan_triton.repository.servable import Servable, ServableError, find_servable, read_steps
from sifigan_triton.repository.tensorrt_plan import read_gpus
from sifigan_triton.server.front import Limits, Ports
from sifigan_triton.server.service import ServiceOptions
from sifigan_triton.store.address import read_address
from sifigan_triton.store.fetch import cache_folder, fetch

logger = logging.getLogger(__name__)


def read_options(environment: Mapping[str, str], arguments: Sequence[str] = ()) -> ServiceOptions:
    """Choose the repository and what of it can be served here, and say what was left out.

    Args:
        environment: the variables; an empty one is as good as none.
        arguments: further command line arguments of `tritonserver`.

    Raises:
        ServableError: if there is no GPU where there has to be one, or what is wanted cannot be served.
        ValueError: if a variable has a wrong value.

    """
    settings = _Settings(environment)
    wanted = settings.text("SIFIGAN_MODELS", "").split()
    servable = find_servable(_repository(settings), wanted, gpu=_gpu(settings))
    for name, reason in sorted(servable.left_out.items()):
        logger.warning("%s is left out: %s", name, reason)
    for note in servable.notes:
        logger.warning("%s", note)
    shared = settings.choice("SIFIGAN_CLIENT_SHARED_MEMORY", "no")
    if shared:
        logger.warning("clients may register shared memory: whoever reaches the ports can take over the server")
    logger.info("serving %s: %s", servable.repository, " ".join(servable.models))
    ports = (("HTTP_PORT", 8000), ("GRPC_PORT", 8001), ("METRICS_PORT", 8002))
    return ServiceOptions(
        servable.repository,
        servable.models,
        probed=_probed(servable, wanted),
        host=settings.text("SIFIGAN_HOST", "0.0.0.0"),
        published=True,
        ports=Ports(*(settings.whole(name, usual, 0, 65535) for name, usual in ports)),
        limits=Limits(
            settings.whole("SIFIGAN_MAX_IN_FLIGHT", 8, 1, 10_000),
            settings.whole("SIFIGAN_MAX_REQUEST_MB", 64, 1, 256) * 2**20,
        ),
        grace_s=settings.number("SIFIGAN_GRACE", 30.0, 0.0, 86400.0),
        logs=Path(tempfile.gettempdir()) / "sifigan-logs",
        client_shared_memory=bool(shared),
        arguments=tuple(arguments),
        again=lambda: read_options(environment, arguments),
    )


class _Settings:
    """Environment variables with what they are by default."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, usual: str) -> str:
        return self._environment.get(name, "").strip() or usual

    def choice(self, name: str, usual: str = "") -> bool | None:
        """Read yes or no; None if neither is said."""
        text = self.text(name, usual)
        if text not in ("yes", "no", ""):
            raise ValueError(f"{name} is {text!r}, expected yes or no")
        return None if text == "" else text == "yes"

    def number(self, name: str, usual: float, low: float, high: float) -> float:
        """Read a number from `low` to `high`; NaN is none."""
        text = self.text(name, f"{usual:g}")
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ValueError(f"{name} is {text!r}, expected a number from {low:g} to {high:g}")
        return value

    def whole(self, name: str, usual: int, low: int, high: int) -> int:
        """Read a whole number."""
        value = self.number(name, usual, low, high)
        if value != int(value):
            raise ValueError(f"{name} is {value:g}, expected a whole number from {low} to {high}")
        return int(value)


def _repository(settings: _Settings) -> Path:
    """Return that of the object store if one is named, or what was built on this machine, or the image's."""
    if address := settings.text("SIFIGAN_REPOSITORY", ""):
        return fetch(read_address(address), cache_folder())
    built = Path(settings.text("SIFIGAN_BUILT", "/models/repository"))
    if any(built.glob("*/config.pbtxt")):
        return built
    return Path(settings.text("SIFIGAN_BAKED", "/opt/sifigan/models"))


def _gpu(settings: _Settings) -> bool | None:
    """Return whether models that need a GPU are served; None: look."""
    gpu = settings.choice("SIFIGAN_GPU")
    if gpu and not read_gpus():
        raise ServableError(
            "SIFIGAN_GPU is yes, but nvidia-smi finds no GPU: run the container with --gpus (and NVIDIA's container "
            "toolkit on the host), or serve on the CPU: docker compose --profile cpu up"
        )
    return gpu


def _probed(servable: Servable, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the ensembles that have to make sound: of each voice one, or without a voice those that were asked for."""
    return servable.voices or tuple(name for name in wanted if read_steps(servable.repository, name))
