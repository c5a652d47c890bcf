"""PyTorch (TorchScript), on the GPU where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


class Engine:
    """Runs windows one by one, so that the audio of a request never depends on what runs beside it."""

    sized, batch = False, 1

    def __init__(self, folder: Path, precision: str, inputs: Mapping[str, list[int]]) -> None:
        """Load the engine; its file decides the precision and the shapes."""
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cudnn.allow_tf32 = False  # FP32 means FP32: TF32 has 11 significant bits
        self._model = torch.jit.load(  # type: ignore[no-untyped-call]
            str(folder / "model.pt"), map_location=self._device
        ).eval()
        self._names = list(inputs)

    @torch.inference_mode()
    def run(self, windows: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Compute one utterance."""
        inputs = [torch.from_numpy(np.array(windows[name])).to(self._device) for name in self._names]
        waveform: npt.NDArray[np.float32] = self._model(*inputs).cpu().numpy()
        return waveform
