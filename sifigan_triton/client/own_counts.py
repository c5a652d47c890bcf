"""What models count themselves on the server's page of metrics.

`preprocess` and the engines in Python models accept a request at once and answer later. So Triton's statistics of them
tell how long the accepting took, and nothing of how long the work waited or took: that they count themselves.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from http.client import HTTPException

from sifigan_triton.client.address import Address
from sifigan_triton.client.deadline import Deadline
from sifigan_triton.client.errors import ServerUnavailableError
from sifigan_triton.client.http_connection import DeadlineConnection
from sifigan_triton.client.http_messages import HttpRequest, no_answer
from sifigan_triton.client.step_statistics import StepStatistics

_SAMPLE = re.compile(r"^(sifigan_\w+)\{(.*)\} (\S+)$", re.MULTILINE)
"""A line of Prometheus' text format: name, labels, value."""
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_WINDOWS = "sifigan_engine_windows_total"


def read_page(metrics_url: str, deadline: Deadline) -> str:
    """Return the page of metrics at `host:port`.

    Raises:
        ServerUnavailableError: if there is none.
        SynthesisTimeoutError: if the answer is not complete at `deadline`.

    """
    address = Address.parse(metrics_url)
    connection = DeadlineConnection(address.host, address.port)
    try:
        response = connection.exchange(HttpRequest("GET", "/metrics"), deadline.at)
    except TimeoutError:
        raise address.silent(deadline.timeout_s) from None
    except (OSError, HTTPException, UnicodeError) as error:
        raise no_answer(address, error) from None
    finally:
        connection.close()
    if response.status != 200:
        raise ServerUnavailableError(
            f"{metrics_url} has no page of metrics (status {response.status}): expected Triton's port of metrics there "
            "(by default 8002)"
        )
    return response.body.decode(errors="replace")


def with_own_counts(steps: Mapping[str, StepStatistics], page: str) -> dict[str, StepStatistics]:
    """Return the statistics of every model, by its own count where the page of metrics has one."""
    counts: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))  # by model, metric
    for metric, text, value in _SAMPLE.findall(page):
        labels = dict(_LABEL.findall(text))
        own = counts[labels.get("model", "")]
        own[metric] += float(value)
        if metric == _WINDOWS:
            own["frames"] += float(value) * int(labels["frames"])
    return {name: _counted(step, counts[name]) for name, step in steps.items()}


def _counted(step: StepStatistics, own: Mapping[str, float]) -> StepStatistics:
    if "sifigan_requests_total" not in own:
        return step
    return replace(
        step,
        inferences=int(own[_WINDOWS]) if _WINDOWS in own else step.inferences,
        seconds=own["sifigan_compute_seconds_total"],
        requests=int(own["sifigan_requests_total"]),
        executions=0,
        queue_s=own["sifigan_wait_seconds_total"],
        copy_s=0.0,
        frames=int(own.get("frames", 0)),
    )
