"""The serving container's entry: a server behind its proxy, kept alive, by environment variables (`container.py`).

python3 -m sifigan_triton.server [ARGUMENTS OF TRITONSERVER]
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence

from sifigan_triton.server.container import read_options
from sifigan_triton.server.log_follower import LogFollower
from sifigan_triton.server.service import FRONT_LOG, LOGS, Service


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s: %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the service takes it
    try:
        options = read_options(os.environ, arguments)
        service = Service(options)

        def ready() -> None:
            logging.info("ready: HTTP %s, gRPC %s, metrics %s", service.http_url, service.grpc_url, service.metrics_url)

        logs = [options.logs / name for name in (*LOGS, FRONT_LOG)]
        with LogFollower(logs, sys.stderr.buffer):
            service.run(ready)
    except (OSError, ValueError, RuntimeError) as error:
        logging.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
