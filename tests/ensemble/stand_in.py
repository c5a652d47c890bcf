"""The real ensemble around a stand-in for the engine, which is loaded in no time and fails when it is told to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sifigan_triton.repository.engine_kinds import ENGINES
from sifigan_triton.repository.model_plan import plan_models
from sifigan_triton.repository.staging import stage_model
from tests.small_voice import small_settings, small_voice

KIND = ENGINES["openvino-fp32"]
VOICE = small_voice()[0]
SETTINGS = small_settings(VOICE, f0_floor=70.0)[0]
FAILING, SOUNDLESS = 20.0, 30.0
"""Standard deviations from the voice's mean at which the engine raises, and at which it makes NaN."""
SECRET = "/opt/secret/libengine.so"
"""What its exception tells."""
_RUNTIME = """
import numpy as np

class Engine:
    sized, batch = True, 1

    def __init__(self, folder, precision, inputs):
        self.frames = int(folder.name) if folder.name != "1" else {window}

    def run(self, windows):
        largest = np.abs(windows["features"]).max()
        if {failing} < largest < {soundless}:
            raise RuntimeError("cannot open {secret}: out of memory")
        first = {halo} * {hop}
        waveform = windows["excitation"][:, :, first : first + self.frames * {hop}].copy()
        return waveform if largest <= {failing} else waveform * np.nan
"""


def stage(folder: Path) -> Path:
    """Write the repository into a folder and return it."""
    runtime = _RUNTIME.format(
        window=SETTINGS.window,
        halo=SETTINGS.halo,
        hop=VOICE.hop_size,
        failing=FAILING,
        soundless=SOUNDLESS,
        secret=SECRET,
    )
    for plan in plan_models(SETTINGS, "", [KIND], KIND):
        files = {**plan.files, "runtime.py": runtime} if plan.name == KIND.model else plan.files
        stage_model(folder, replace(plan, files=files))
    return folder
