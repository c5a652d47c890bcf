from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sifigan_triton.voice import CheckpointError
from sifigan_triton.voice.safe_pickle import load_scalers
from sifigan_triton.voice.statistics import read_statistics
from tests.public_files import SMALL, STATS

BAD_SCALERS: dict[str, tuple[dict[str, Any], str]] = {
    "not-fitted": (
        {"mean_": None},
        r"stats\.joblib: bap\.mean_ is no row of numbers, expected a StandardScaler fitted",
    ),
    "rank": ({"scale_": np.ones((1, 3))}, r"bap\.scale_ is no row of numbers"),
    "nan": ({"mean_": np.array([0.0, np.nan, 0.0])}, r"bap\.mean_\[1\] is nan, expected a finite number"),
    "infinite": ({"scale_": np.array([1.0, 1.0, np.inf])}, r"bap\.scale_\[2\] is inf, expected a finite number"),
    "zero": ({"scale_": np.array([1.0, 0.0, 1.0])}, r"bap: statistics hold a scale that is not positive"),
    "lengths": ({"scale_": np.ones(2)}, r"bap: statistics have 3 means and 2 scales"),
    "without-mean": ({"with_mean": False}, r"bap\.with_mean is False, expected True"),
    "without-scale": ({"with_std": False}, r"bap\.with_std is False, expected True"),
}


@pytest.mark.parametrize(("attributes", "message"), BAD_SCALERS.values(), ids=BAD_SCALERS.keys())
def test_bad_scaler_is_refused(monkeypatch: pytest.MonkeyPatch, attributes: dict[str, Any], message: str) -> None:
    scalers = load_scalers(STATS)
    scalers["bap"] |= attributes
    monkeypatch.setattr("sifigan_triton.voice.statistics.load_scalers", lambda _: scalers)
    with pytest.raises(CheckpointError, match=message):
        read_statistics(STATS, SMALL)


def test_missing_scaler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sifigan_triton.voice.statistics.load_scalers", lambda _: {"f0": {}})
    with pytest.raises(
        CheckpointError, match=r"mcep is missing \(found f0\), expected StandardScalers of mcep and bap"
    ):
        read_statistics(STATS, SMALL)
