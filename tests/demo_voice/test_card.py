"""The demonstration voice's export, on toy sizes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from preprocess import condition
from sifigan_triton.voice.folder import load_voice
from tests.demo_voice.toy import HOP
from tools.train_demo_voice import export
from tools.train_demo_voice.journal import CHECKPOINT_FILE, LOG_FILE, LossLog
from tools.train_demo_voice.trainer import Trainer

ROOT = Path(__file__).parents[2]


def test_export_round_trip(trainer: Trainer, corpus: Path, tmp_path: Path) -> None:
    log = LossLog(tmp_path / LOG_FILE, 0)
    log.add(trainer.train_step())
    log.write(1, 60.0, 1e-4)
    trainer.save(tmp_path / CHECKPOINT_FILE)
    export.export(tmp_path, corpus, tmp_path / "voices" / "demo", export.Remarks(figures="MCD 1.23 dB."))
    voice, generator = load_voice(tmp_path / "voices" / "demo")
    assert replace(voice, provenance={}) == replace(trainer.voice, name="demo")
    for name, mean in trainer.average.state_dict().items():
        assert torch.equal(generator.state_dict()[name], mean), name
    assert any(
        not torch.equal(a, b) for a, b in zip(generator.parameters(), trainer.generator.parameters(), strict=True)
    )
    recording = trainer.recordings[0]
    inputs = condition(recording.f0, recording.mcep, recording.bap, voice)
    waveform = generator(*(torch.from_numpy(values)[None] for values in inputs))
    assert waveform.shape == (1, 1, recording.frames * HOP)
    card = (tmp_path / "voices" / "demo" / "README.md").read_text()
    assert "$" not in card
    for words in ("16 channels", "1 minutes", "Attribution 3.0", "Apache", "MCD 1.23 dB.", "| song | 1 | 0.0 |"):
        assert words in card


def test_export_averages_two_checkpoints(trainer: Trainer, corpus: Path, tmp_path: Path) -> None:
    log = LossLog(tmp_path / LOG_FILE, 0)
    log.add(trainer.train_step())
    log.write(1, 60.0, 1e-4)
    trainer.save(tmp_path / "earlier.pt")
    before = {name: mean.clone() for name, mean in trainer.average.state_dict().items()}
    trainer.train_step()
    trainer.save(tmp_path / CHECKPOINT_FILE)
    folder = tmp_path / "voices" / "demo"
    export.export(tmp_path, corpus, folder, export.Remarks(), export.Earlier(tmp_path / "earlier.pt", 0.25))
    voice, generator = load_voice(folder)
    after, moved = trainer.average.state_dict(), 0
    for name, weights in generator.state_dict().items():
        torch.testing.assert_close(weights, 0.75 * after[name] + 0.25 * before[name], rtol=1e-6, atol=1e-8)
        moved += not torch.equal(after[name], before[name])
    assert moved
    assert (
        "0.75 of the running mean (0.999) of the training's and 0.25 of that of step 1" in voice.provenance["weights"]
    )
    assert "0.25 of that of step 1." in (folder / "README.md").read_text()
    other = torch.load(tmp_path / "earlier.pt", weights_only=True)
    other["voice"] = replace(trainer.voice, name="another").to_json()
    torch.save(other, tmp_path / "other.pt")
    for name, share, said in (
        ("other.pt", 0.5, "voice is not the run's"),
        ("earlier.pt", 1.5, "expected 0 to 1, got 1.5"),
    ):
        with pytest.raises(ValueError, match=rf"{name}: .*{said}"):
            export.load_trained(tmp_path, export.Earlier(tmp_path / name, share))


@pytest.mark.parametrize(("start", "said"), [(0.5, "from step 50 on"), (2.0, "")], ids=["half-way", "never"])
def test_card_names_the_discriminators_only_where_they_took_part(start: float, said: str) -> None:
    plan = {"steps": 100, "adversarial_from": start, "adversarial_weight": 8.0, "feature_weight": 30.0}
    text = export.describe_discriminators(plan, 60)
    assert text.startswith("| ") and said in text if said else text == ""
    assert export.describe_discriminators(plan, 50) == ""


def test_remarks_come_from_a_folder_and_bring_its_picture(tmp_path: Path) -> None:
    standard = export.Remarks("a GPU")
    assert standard.read(tmp_path) == standard
    (tmp_path / "figures.md").write_text("MCD 1.23 dB.\n")
    (tmp_path / "history.md").write_text("Two runs.\n")
    assert standard.read(tmp_path) == replace(standard, figures="MCD 1.23 dB.", history="Two runs.")
    (tmp_path / "spectrograms.png").write_bytes(b"picture")
    assert standard.read(tmp_path).figures == "MCD 1.23 dB.\n\n![spectrograms](spectrograms.png)"


def test_the_shipped_card_is_the_template_filled_in() -> None:
    parts, seen = [], set[str]()
    for part in re.split(r"(\$[a-z_]+)", export.CARD_TEMPLATE.read_text(encoding="utf-8")):
        name = part[1:]
        if not part.startswith("$"):
            parts.append(re.escape(part))
        else:
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>.*?)")
            seen.add(name)
    card = (ROOT / "voices" / "demo" / "README.md").read_text(encoding="utf-8")
    found = re.fullmatch("".join(parts), card, re.DOTALL)
    assert found, "export the card anew after changing its template"
    assert "4, 5.4, 7 and 8 kHz" in found["heard"]
    generator = load_voice(ROOT / "voices" / "demo")[1]
    assert found["parameters"] == f"{sum(parameter.numel() for parameter in generator.parameters()):,}"
