"""Files in the form that the public training code writes them, made from our own generator."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from preprocess.voice import GeneratorConfig
from sifigan_triton.network.generator import FilterUnit, Generator, SourceUnit

STATS = Path(__file__).parent / "data" / "stats.joblib"
SMALL = GeneratorConfig(channels=32)


@dataclass
class PublicFiles:
    """Paths of the three files, and the generator with unfolded weight norm that they hold."""

    checkpoint: Path
    generator_yaml: Path
    stats: Path
    generator: Generator

    def edit_checkpoint(self, edit: Any) -> None:
        """Let `edit` change the state dictionary of the generator in the file."""
        checkpoint = torch.load(self.checkpoint, weights_only=True)
        edit(checkpoint["model"]["generator"])
        torch.save(checkpoint, self.checkpoint)

    def edit_yaml(self, edit: Any) -> None:
        """Let `edit` change the mapping in the YAML file."""
        values = yaml.safe_load(self.generator_yaml.read_text())
        edit(values)
        self.generator_yaml.write_text(yaml.safe_dump(values))


def write_public_files(folder: Path, config: GeneratorConfig = SMALL, norm: str = "weight_norm") -> PublicFiles:
    """Write checkpoint and YAML of a random generator; `norm` is how its weights are stored."""
    torch.manual_seed(1)
    generator = Generator(config).eval()
    layers = public_layers(generator)
    for layer in layers.values():
        _apply_norm(layer, norm)
    with torch.no_grad():  # magnitudes that differ from the norm of their direction
        for name, parameter in generator.named_parameters():
            if name.endswith(("weight_g", "original0")):
                parameter.mul_(torch.rand_like(parameter) + 0.5)
    state = {f"{public}.{key}": value for public, layer in layers.items() for key, value in layer.state_dict().items()}
    checkpoint = _trainer_state()
    checkpoint["model"]["generator"] = state | _unused(config)
    torch.save(checkpoint, folder / "checkpoint-400000steps.pkl")
    (folder / "sifigan.yaml").write_text(yaml.safe_dump(yaml_values(config)))
    return PublicFiles(folder / "checkpoint-400000steps.pkl", folder / "sifigan.yaml", STATS, generator)


def public_layers(generator: Generator) -> dict[str, nn.Module]:
    """Return our layers under the names that the public `SiFiGANGenerator` gives them."""
    layers: dict[str, nn.Module] = {
        "input_conv": generator.input_conv,
        "sn.emb": generator.excitation_conv,
        "fn.output_conv.1": generator.output_conv,
    }
    for i, layer in enumerate(generator.source_upsamples):
        layers[f"sn.upsamples.{i}.1"] = layer
    for i, layer in enumerate(generator.source_downsamples):
        layers[f"sn.downsamples.{i}.0"] = layer
    if not generator.config.share_upsamples:
        layers |= {f"fn.upsamples.{i}.1": layer for i, layer in enumerate(generator.filter_upsamples)}
    if not generator.config.share_downsamples:
        layers |= {f"fn.downsamples.{i}.0": layer for i, layer in enumerate(generator.filter_downsamples)}
    for i, stage in enumerate(generator.source_stages):
        for k, unit in enumerate(stage):
            assert isinstance(unit, SourceUnit)
            layers[f"sn.blocks.{i}.convsC.{k}"] = unit.pitch_dependent.current
            layers[f"sn.blocks.{i}.convsP.{k}"] = unit.pitch_dependent.past
            layers[f"sn.blocks.{i}.convsF.{k}"] = unit.pitch_dependent.future
            if unit.additional is not None:
                layers[f"sn.blocks.{i}.convsA.{k}.1"] = unit.additional
    for n, block in enumerate(block for stage in generator.filter_stages for block in stage):
        for k, unit in enumerate(block):
            assert isinstance(unit, FilterUnit)
            layers[f"fn.blocks.{n}.convs1.{k}.1"] = unit.dilated
            if unit.additional is not None:
                layers[f"fn.blocks.{n}.convs2.{k}.1"] = unit.additional
    return layers


def yaml_values(config: GeneratorConfig) -> dict[str, Any]:
    """Return all arguments of the public generator, as its YAML file lists them."""
    return {
        "_target_": "sifigan.models.SiFiGANGenerator",
        "in_channels": config.in_channels,
        "out_channels": 1,
        "channels": config.channels,
        "kernel_size": config.kernel_size,
        "upsample_scales": list(config.upsample_scales),
        "upsample_kernel_sizes": [2 * scale for scale in config.upsample_scales],
        "source_network_params": {
            "resblock_kernel_size": 3,
            "resblock_dilations": [list(d) for d in config.source_dilations],
            "use_additional_convs": config.source_additional_convs,
        },
        "filter_network_params": {
            "resblock_kernel_sizes": list(config.filter_kernel_sizes),
            "resblock_dilations": [list(d) for d in config.filter_dilations],
            "use_additional_convs": config.filter_additional_convs,
        },
        "share_upsamples": config.share_upsamples,
        "share_downsamples": config.share_downsamples,
        "bias": config.bias,
        "nonlinear_activation": "LeakyReLU",
        "nonlinear_activation_params": {"negative_slope": config.negative_slope},
        "use_weight_norm": True,
    }


def other_config(**changes: Any) -> GeneratorConfig:
    """Return the small configuration with changes."""
    return replace(SMALL, **changes)


def _apply_norm(layer: nn.Module, norm: str) -> None:
    if norm == "weight_norm":
        _weight_norm(layer)
    elif norm == "parametrization":
        nn.utils.parametrizations.weight_norm(layer)


def _weight_norm(layer: nn.Module) -> None:
    """Apply the form of weight norm that the public code uses, which PyTorch calls deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        nn.utils.weight_norm(layer)


def _trainer_state() -> dict[str, Any]:
    """Return what the public trainer saves, with one step of Adam and of the scheduler behind it."""
    model = nn.Conv1d(1, 1, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-4, betas=(0.5, 0.9))
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [100000, 200000], gamma=0.5)
    with torch.enable_grad():
        model(torch.ones(1, 1, 9)).sum().backward()
    optimizer.step()
    scheduler.step()
    return {
        "optimizer": {"generator": optimizer.state_dict(), "discriminator": optimizer.state_dict()},
        "scheduler": {"generator": scheduler.state_dict(), "discriminator": scheduler.state_dict()},
        "steps": 400000,
        "epochs": 12,
        "model": {"discriminator": model.state_dict()},
    }


def _unused(config: GeneratorConfig) -> dict[str, Tensor]:
    """Return the layers that the public code has and no waveform depends on."""
    last = config.channels >> len(config.upsample_scales)
    layers = {"sn.output_conv.1": nn.Conv1d(last, 1, config.kernel_size)}
    scale = config.upsample_scales[0]
    for network in ("sn",) if config.share_downsamples else ("sn", "fn"):
        down = nn.Conv1d(config.channels // 2, config.channels, 2 * scale, scale)
        layers[f"{network}.downsamples.{len(config.upsample_scales) - 1}.0"] = down
    for layer in layers.values():
        _weight_norm(layer)
    return {f"{name}.{key}": value for name, layer in layers.items() for key, value in layer.state_dict().items()}
