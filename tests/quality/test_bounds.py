"""Bounds: the defaults, and how they are given by hand."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from sifigan_triton.quality.bounds import Bounds, bounds_for, parse_bounds
from sifigan_triton.quality.comparison import METRICS
from sifigan_triton.quality.pair import QualityError


def test_every_metric_has_a_bound_and_every_bound_a_metric() -> None:
    assert [field.name for field in fields(Bounds)] == [metric.name for metric in METRICS]


@pytest.mark.parametrize(("precision", "snr"), [("fp32", 100.0), ("fp16", 50.0), ("bf16", 40.0)])
def test_defaults(precision: str, snr: float) -> None:
    assert bounds_for(precision) == Bounds(
        snr=snr, visqol=4.6, mcd=1.0, envelope=1.0, log_f0=0.03, vuv=0.5, stft=None, loudness=None, peak=None
    )


def test_changes_replace_what_they_name() -> None:
    changes = parse_bounds(["snr=45", "mcd=inf", "loudness=0.5", "visqol=0"])
    assert changes == {"snr": 45.0, "mcd": np.inf, "loudness": 0.5, "visqol": 0.0}
    changed = bounds_for("fp16", changes)
    assert (changed.snr, changed.mcd, changed.loudness, changed.envelope) == (45.0, np.inf, 0.5, 1.0)
    assert parse_bounds(None) == {}
    assert (changed.snr_db, Bounds().snr_db) == (45.0, 0.0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("snr", r"bound is 'snr', expected name=value, where name is one of snr, visqol, mcd"),
        ("pesq=3", r"bound is 'pesq=3', expected name=value, where name is one of snr"),
        ("mcd=loud", r"bound mcd is 'loud', expected a number of 0 or more, as in mcd=1.5"),
        ("mcd=nan", r"bound mcd is 'nan'"),
        ("peak=-1", r"bound peak is '-1'"),
    ],
)
def test_bad_settings_are_refused(setting: str, message: str) -> None:
    with pytest.raises(QualityError, match=message):
        parse_bounds([setting])


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(QualityError, match="precision is int8, expected one of fp32, fp16, bf16"):
        bounds_for("int8")
