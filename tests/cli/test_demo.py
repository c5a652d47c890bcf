"""The demonstration on the real server: audio, pictures and a table whose times are those of the work."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from sifigan_triton.cli.demo import format_rows, run_demo
from sifigan_triton.client import SifiganClient
from tests.conftest import ROOT, Deployment

RECORDING = ROOT / "measurement_data" / "vocadito_14.flac"


@pytest.mark.server
def test_table_tells_where_the_time_went(small_deployment: Deployment, tmp_path: Path) -> None:
    samples, rate = soundfile.read(RECORDING, start=50400, frames=60000)
    soundfile.write(tmp_path / "in.wav", samples, rate)
    server = small_deployment.server
    with SifiganClient(server.http_url) as client:
        voice = small_deployment.voice
        rows = run_demo(client, tmp_path / "in.wav", voice, tmp_path, (1.0, 1.26), server.metrics_url)
    for row in rows:
        steps = ["preprocess", "sifigan-openvino-fp32", "postprocess"]
        assert list(row.seconds) == ["analysis", *steps, "request"]
        assert 0.5 * row.seconds["request"] < sum(row.seconds[step] for step in steps) < row.seconds["request"]
        assert row.windows >= row.frames / 128
        assert (tmp_path / f"in_x{row.f0_factor:.2f}.wav").is_file()
        assert (tmp_path / f"in_x{row.f0_factor:.2f}.png").is_file()
    table = format_rows(rows).splitlines()
    assert len(table) == 1 + 5 * len(rows)
    assert "sifigan-openvino-fp32" in table[3]
