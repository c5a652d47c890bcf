"""Parity with the public SiFi-GAN code: its generator and ours, on the same weights, excitation and features.

The public generator is instantiated with seeded random weights, saved the way its trainer saves a checkpoint, imported
with `sifigan_triton.voice.importing`, and run beside the imported generator at full length. The result is a
Markdown table on standard output; the exit status is 1 where a signal-to-noise ratio is below 110 dB.

Needs a checkout of the public code (MIT licence), which is imported from its own folder, and `pip install h5py
scikit-learn joblib` (h5py is imported by that code; the other two write the statistics file as its scripts do):

    sifigan-triton analyze measurement_data/vocadito_10.flac -o out/vocadito_10.npz
    python benchmarks/parity.py --public-code ../SiFiGAN --variant reflect --features out/vocadito_10.npz

Variants: `zero` is the code of 2022, `reflect` that of 2023. Each is compared twice: as published, and under the
condition in which the two can agree at all.

- `reflect`: a future tap that falls on the sample behind the last one reads the first sample of the utterance in the
  public code, the last one here. The condition patches that index, and no other, at run time.
- `zero`: the public code rounds `t - offset` in FP32, so its rounding depends on the position t. The condition hands it
  the same dilation factors as FP64 tensors, which makes that rounding exact.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import joblib
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from preprocess.f0 import continuous_f0
from preprocess.pipeline import condition
from preprocess.voice import PdIndexing, Voice
from sifigan_triton.features.features import Features
from sifigan_triton.voice.folder import load_voice
from sifigan_triton.voice.importing import import_voice

REQUIRED_DB = 110.0
GENERATOR_YAML = Path("sifigan/bin/config/generator/sifigan.yaml")


@dataclass(frozen=True)
class PublicCode:
    """The parts of the public code that are run."""

    folder: Path
    variant: PdIndexing
    generator_module: ModuleType

    @classmethod
    def load(cls, folder: Path, variant: PdIndexing) -> PublicCode:
        """Import the generator's file alone: `sifigan.models` as a package would also need torchaudio."""
        sys.path.insert(0, str(folder))
        spec = importlib.util.spec_from_file_location("public_generator", folder / "sifigan/models/generator.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return cls(folder, variant, module)

    def generator(self, seed: int) -> nn.Module:
        """Instantiate the generator of the public YAML file with seeded random weights.

        The weights are PyTorch's default initialisation, split into magnitude and direction by weight norm. (The public
        constructor's `normal_(0, 0.01)` comes after weight norm is applied, which overwrites it at the next forward.)
        """
        arguments = yaml.safe_load((self.folder / GENERATOR_YAML).read_text(encoding="utf-8"))
        del arguments["_target_"]
        torch.manual_seed(seed)
        generator: nn.Module = self.generator_module.SiFiGANGenerator(**arguments)
        return generator

    def run(self, generator: nn.Module, excitation: Tensor, features: Tensor, factors: list[Tensor]) -> Tensor:
        """Run the public forward: (1, 1, T * hop), (1, C, T), dilation factors a scale (L,) -> (1, 1, T * hop)."""
        if self.variant == "zero":
            waveform: Tensor = generator(excitation, features, [f.view(1, 1, -1) for f in factors])[0]
        else:  # this code takes the factors of all scales in one tensor, zero-padded at the end
            padded = nn.utils.rnn.pad_sequence(factors, batch_first=True)  # (S, T * hop)
            waveform = generator(excitation, features, padded[None])
        return waveform

    def dilation_factors(self, cf0: NDArray[np.float64], voice: Voice) -> list[NDArray[np.float32]]:
        """Return the dilation factor of every sample at every scale, float32, as the public decoding script does."""
        dilated_factor = importlib.import_module("sifigan.utils.features").dilated_factor
        return [
            np.repeat(dilated_factor(cf0.copy(), voice.sample_rate, dense), rate).astype(np.float32)
            for dense, rate in zip(voice.dense_factors, voice.generator.rates, strict=True)
        ]

    @contextmanager
    def last_sample(self) -> Iterator[None]:
        """Let a future tap just behind the end read the last sample, as ours does, instead of the first one."""
        blocks = importlib.import_module("sifigan.layers.residual_block")
        original: Callable[..., tuple[Tensor, Tensor]] = blocks.pd_indexing

        def patched(x: Tensor, d: Tensor, dilation: int) -> tuple[Tensor, Tensor]:
            past, future = original(x, d, dilation)
            index = torch.arange(x.shape[-1]) + (d * dilation).long().clamp(min=1)
            wrapped = (index >= x.shape[-1]) & (index % x.shape[-1] == 0)
            return past, torch.where(wrapped, x[..., -1:], future)

        blocks.pd_indexing = patched
        try:
            yield
        finally:
            blocks.pd_indexing = original


def save_checkpoint(path: Path, generator: nn.Module) -> None:
    """Write a checkpoint with all that the public trainer puts into one.

    One optimizer step is made first, so that weights and optimizer state are those of a trained file. A small
    convolution stands for the discriminator, whose weights the import never looks at.
    """
    models = {"generator": generator, "discriminator": nn.utils.weight_norm(nn.Conv1d(1, 4, 3))}
    state: dict[str, Any] = {"steps": 1, "epochs": 0}
    state |= {"model": {}, "optimizer": {}, "scheduler": {}}
    for name, model in models.items():
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-4, betas=(0.5, 0.9))
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [100000, 200000, 300000, 400000], 0.5)
        sum(parameter.square().sum() for parameter in model.parameters()).backward()  # type: ignore[union-attr]
        optimizer.step()
        scheduler.step()
        state["model"][name] = model.state_dict()
        state["optimizer"][name] = optimizer.state_dict()
        state["scheduler"][name] = scheduler.state_dict()
    torch.save(state, path)


def save_statistics(path: Path, utterances: list[Features]) -> None:
    """Write the statistics of some features with scikit-learn and joblib, as the public script does."""
    scalers = {key: StandardScaler() for key in ("f0", "cf0", "uv", "mcep", "bap")}
    for features in utterances:
        scalers["f0"].partial_fit(features.f0[features.f0 > 0][:, None])
        scalers["cf0"].partial_fit(continuous_f0(features.f0)[:, None])
        scalers["uv"].partial_fit((features.f0 > 0)[:, None].astype(np.float32))
        scalers["mcep"].partial_fit(features.mcep)
        scalers["bap"].partial_fit(features.bap)
    joblib.dump(scalers, path)


def snr_db(reference: Tensor, other: Tensor) -> float:
    """Return the signal-to-noise ratio in dB, in FP64; NaN where either holds one."""
    reference, other = reference.double(), other.double()
    return float(10.0 * torch.log10(reference.square().sum() / (reference - other).square().sum()))


@torch.no_grad()
def compare(public: PublicCode, generator: nn.Module, folder: Path, utterances: dict[str, Features]) -> bool:
    """Print a row for each utterance; return whether all of them reach the required ratio under the condition."""
    voice, ours = load_voice(folder)
    reached = True
    print("| variant | input | frames | level (dB re 1) | largest difference | SNR (dB) | SNR as published (dB) |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name, features in utterances.items():
        excitation, normalised, offsets = condition(features.f0, features.mcep, features.bap, voice)
        x, c = torch.from_numpy(excitation)[None], torch.from_numpy(normalised)[None]
        mine = ours(x, c, torch.from_numpy(offsets)[None])
        factors = [torch.from_numpy(f) for f in public.dilation_factors(continuous_f0(features.f0), voice)]
        published = public.run(generator, x, c, factors)
        if public.variant == "zero":
            agreed = public.run(generator, x, c, [f.double() for f in factors])
        else:
            with public.last_sample():
                agreed = public.run(generator, x, c, factors)
        ratio, difference = snr_db(agreed, mine), float((agreed - mine).abs().max())
        reached &= ratio >= REQUIRED_DB
        level = 10.0 * float(torch.log10(agreed.square().mean()))
        print(
            f"| {public.variant} | {name} | {features.frames} | {level:.1f} | {difference:.1e} | {ratio:.1f} | "
            f"{snr_db(published, mine):.1f} |",
            flush=True,
        )
    return reached


def main() -> None:
    """Parse the arguments, make and import the checkpoint, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--public-code", type=Path, required=True, help="checkout of the public SiFi-GAN code")
    parser.add_argument("--variant", choices=("zero", "reflect"), required=True, help="which pd_indexing that code has")
    parser.add_argument(
        "--features", type=Path, nargs="+", required=True, help=".npz files of `sifigan-triton analyze`"
    )
    parser.add_argument("--constant-f0", type=float, help="also the first file's features at this F0 (Hz), all voiced")
    parser.add_argument("--stats", type=Path, help="statistics .joblib to import instead of the features' own")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights")
    arguments = parser.parse_args()
    variant: Literal["zero", "reflect"] = arguments.variant
    utterances = {path.stem: Features.load(path) for path in arguments.features}
    recorded = list(utterances.values())
    if arguments.constant_f0:
        f0 = np.full_like(recorded[0].f0, arguments.constant_f0)
        utterances[f"constant {arguments.constant_f0:g} Hz"] = replace(recorded[0], f0=f0)
    public = PublicCode.load(arguments.public_code, variant)
    generator = public.generator(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_checkpoint(folder / "checkpoint-1steps.pkl", generator)
        save_statistics(folder / "stats.joblib", recorded)
        stats = arguments.stats or folder / "stats.joblib"
        yaml_path = public.folder / GENERATOR_YAML
        import_voice(folder / "checkpoint-1steps.pkl", stats, yaml_path, folder / "voice", pd_indexing=variant)
        generator.eval().remove_weight_norm()  # type: ignore[operator]
        if variant == "reflect":
            generator.apply_layer_tweaks()  # type: ignore[operator]
        reached = compare(public, generator, folder / "voice", utterances)
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
