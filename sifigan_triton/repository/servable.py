"""Which models of a repository can be served here: one answer for every way to start a server.

    python3 -m sifigan_triton.repository.servable --links FOLDER MODEL_REPOSITORY [MODEL ...]

One model that cannot be loaded keeps a whole `tritonserver` from starting, and an engine behind another voice's
statistics makes audio that is wrong without a word. So a server is given a folder of links to exactly those models that
are built, run on this machine and fit each other. Standard library only (Python 3.10 or newer): a serving container
runs this file as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sifigan_triton.repository.tensorrt_plan import Machine, notes, problems, read_machine
from sifigan_triton.repository.voice_names import FIRST_STEP, LAST_STEP, MAIN, main_ensembles

VERSION = "1"
"""Triton's version folder of every model."""
MANIFEST_FILE = "manifest.json"
SUMS_FILE = "SHA256SUMS"
"""What a build put beside a Python model's `model.py`, with hashes; `sha256sum --check` reads it too."""
ENGINE_FILES = ("model.rtx.plan", "model.plan", "model.onnx", "model.pt")
"""Files that a manifest may describe; of those that are there, the first one."""

_COMMENT = re.compile(r"""^((?:[^"'#\n]|"[^"\n]*"|'[^'\n]*')*)#.*$""", re.MULTILINE)
_STEP = re.compile(r"\bmodel_name\s*:\s*[\"']([^\"']+)[\"']")
_ENSEMBLE = re.compile(r"\bensemble_scheduling\b")
_NEEDS_GPU = re.compile(r"\bkind\s*:\s*KIND_GPU\b")
_MAX_BATCH = re.compile(r"\bmax_batch_size\s*:\s*(\d+)")
_REBUILD = "build it again: sifigan-triton build"
_UNREADABLE = (OSError, ValueError, TypeError, OverflowError, RecursionError)
"""What the files of a model can raise that nobody has looked at."""


class ServableError(RuntimeError):
    """What is to be served cannot be; the message says why and what to do.

    Attributes:
        left_out: the reason for each model that cannot be, where the repository could be looked at.

    """

    def __init__(self, message: str, left_out: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.left_out = left_out or {}


@dataclass(frozen=True)
class Servable:
    """The models of a repository that can be served."""

    repository: Path
    models: tuple[str, ...]
    """Names, sorted."""
    left_out: Mapping[str, str]
    """The reason for each model that is in the repository and is not served."""
    notes: tuple[str, ...] = ()
    """What keeps no model from running, but may cost speed."""

    @property
    def voices(self) -> tuple[str, ...]:
        """The ensembles that clients call, one of each voice: `sifigan`, `sifigan-<voice>`."""
        return tuple(main_ensembles(self.models))

    def first_step(self, ensemble: str = MAIN) -> Path:
        """Return the version folder of an ensemble's first step, which holds `voice.json`."""
        return self.repository / read_steps(self.repository, ensemble)[0] / VERSION

    def link(self, folder: Path) -> Path:
        """Make a folder of links to exactly these models, for `--model-repository`, and return it."""
        return link_models(self.repository, self.models, folder)


def find_servable(
    repository: Path, wanted: Iterable[str] = (), *, gpu: bool | None = None, machine: Machine | None = None
) -> Servable:
    """Tell which models of a repository can be served on this machine.

    A model is left out if it is not built, needs a GPU where there is none, holds another file than its manifest
    describes, or is an engine of another voice or window than the first step in front of it; and so is every ensemble
    that has such a step.

    Args:
        repository: Triton's model repository.
        wanted: models to serve, with those that they are composed of; none: all that can be served.
        gpu: whether there is a GPU for models that need one; None: look.
        machine: what TensorRT plans are compared with; None is this machine, looked at only if there is a plan.

    Raises:
        ServableError: if there is no such repository, or a wanted model cannot be served; of several voices, wanted or
            all that are there, it is enough that one can, and the others are left out.

    """
    if not repository.is_dir():
        raise ServableError(
            f"the model repository {repository} is no folder: run `sifigan-triton build`, which writes it, or "
            "name one with --model-repository"
        )
    looked = _Repository(repository, gpu, machine)
    left_out = looked.left_out()
    models = looked.configs.keys() - left_out.keys()
    asked = tuple(wanted)
    voices = main_ensembles(looked.names()) or [MAIN]
    names = asked or tuple(voices)
    there = f"it is not in the repository, which has {', '.join(sorted(models)) or 'no models'}"
    bad = {name: left_out.get(name, there) for name in names if name not in models}
    if models.intersection(voices, names):  # one voice that cannot be served keeps no other from it
        bad = {name: reason for name, reason in bad.items() if name not in voices or name not in left_out}
    if bad:
        said = "; cannot serve ".join(f"{name}: {reason}" for name, reason in bad.items())
        raise ServableError(f"{repository}: cannot serve {said}", left_out)
    chosen = with_steps(repository, models.intersection(asked)) if asked else models - looked.unneeded(models)
    return Servable(repository, tuple(sorted(chosen)), left_out, tuple(looked.notes))


def read_steps(repository: Path, model: str) -> list[str]:
    """Return the models that an ensemble is composed of, in the order of its steps; none for another model.

    Raises:
        ServableError: if the repository has no such model.

    """
    try:
        return _STEP.findall(_read_config(repository / model))
    except (OSError, ValueError) as error:
        raise ServableError(f"{repository}: cannot serve {model}: {error}") from None


def with_steps(repository: Path, models: Iterable[str]) -> set[str]:
    """Return models and all that they are composed of.

    Raises:
        ServableError: if the repository lacks one of them.

    """
    return _reached(lambda name: read_steps(repository, name), models)


def link_models(repository: Path, models: Iterable[str], folder: Path) -> Path:
    """Make a folder of links to models of a repository and return it."""
    folder.mkdir(parents=True)
    for name in models:
        (folder / name).symlink_to((repository / name).resolve(), target_is_directory=True)
    return folder


def read_manifest(version: Path) -> dict[str, Any]:
    """Return the manifest of a version folder; empty if there is none that can be read."""
    try:
        manifest = json.loads((version / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


class _Repository:
    """The models of a repository, looked at once."""

    def __init__(self, folder: Path, gpu: bool | None, machine: Machine | None) -> None:
        self._folder, self._gpu, self._machine = folder, gpu, machine
        self.configs: dict[str, str] = {}
        self._unreadable: dict[str, str] = {}
        for path in sorted(folder.glob("[!.]*/config.pbtxt")):
            try:
                self.configs[path.parent.name] = _read_config(path.parent)
            except (OSError, ValueError) as error:
                self._unreadable[path.parent.name] = f"its config.pbtxt cannot be read: {error}"
        self.steps = {name: _STEP.findall(text) for name, text in self.configs.items()}
        self.notes: list[str] = []

    def names(self) -> set[str]:
        """Return the names of all models, also of those that cannot be read."""
        return {*self.configs, *self._unreadable}

    def left_out(self) -> dict[str, str]:
        """Return the models that cannot be served, each with the reason and, where there is one, the fix."""
        left_out = dict(self._unreadable)
        for name in self.configs:
            try:
                reason = self._own_reason(name)
            except _UNREADABLE as error:
                reason = f"its files cannot be read: {error!r}: {_REBUILD}"
            if reason is not None:
                left_out[name] = reason
        built = self.configs.keys() - left_out.keys()
        for first, *others in filter(None, self.steps.values()):
            if {first, *others} <= built:
                misfits = {engine: self._misfit(first, engine) for engine in others if not engine.startswith(LAST_STEP)}
                left_out |= {engine: reason for engine, reason in misfits.items() if reason is not None}
        while broken := self._broken_ensembles(left_out):  # an ensemble may be a step of another
            left_out |= broken
        return left_out

    def unneeded(self, models: Collection[str]) -> set[str]:
        """Return the steps around engines that no ensemble of some models needs: they would only fill memory."""
        needed = {step for name in models for step in self.steps[name]}
        return {name for name in models if name.startswith((FIRST_STEP, LAST_STEP))} - needed

    def _own_reason(self, name: str) -> str | None:
        """Return why a model cannot be served, whatever stands around it."""
        version = self._folder / name / VERSION
        versions = sorted(path.name for path in (self._folder / name).iterdir() if path.name.isdigit())
        if not versions:
            return f"it has a config.pbtxt but has not been built: {_REBUILD}"
        if versions != [VERSION]:
            return f"it has the version folders {', '.join(versions)}, expected {VERSION} alone: remove the others"
        if _ENSEMBLE.search(self.configs[name]) and not self.steps[name]:
            return "it is an ensemble, but no step of it can be read in its config.pbtxt"
        if name in _reached(lambda step: self.steps.get(step, []), self.steps[name]):
            return "it is a step of itself"
        manifest = read_manifest(version)
        if _NEEDS_GPU.search(self.configs[name]) and not self._has_gpu():
            return "it needs an NVIDIA GPU and there is none"
        damage = self._file_reason(name, version, manifest) or _changed(version, _read_sums(version), SUMS_FILE)
        return damage or self._plan_reason(name, manifest)

    def _file_reason(self, name: str, version: Path, manifest: Mapping[str, Any]) -> str | None:
        """Compare an engine's manifest with the file and the configuration beside it."""
        if "engine_sha256" not in manifest:
            return None
        file = next((version / known for known in ENGINE_FILES if (version / known).is_file()), None)
        if file is None:
            return f"it has a {MANIFEST_FILE} but no engine ({', '.join(ENGINE_FILES)}): {_REBUILD}"
        if "smaller_windows" not in manifest:
            return f"it is of an earlier build, which its configuration does not fit: {_REBUILD}"
        parts = {file.name: manifest["engine_sha256"], **manifest["smaller_windows"]}
        if damage := _changed(version, parts, "manifest"):
            return damage
        batch = _MAX_BATCH.search(self.configs[name])
        if batch and "max_batch_size" in manifest and int(batch[1]) > int(manifest["max_batch_size"]):
            return f"config.pbtxt allows batches of {batch[1]}, the plan takes {manifest['max_batch_size']}: {_REBUILD}"
        return None

    def _plan_reason(self, name: str, manifest: Mapping[str, Any]) -> str | None:
        """Compare a TensorRT plan with this machine."""
        if "tensorrt_version" not in manifest:
            return None
        self._machine = self._machine or read_machine()
        self.notes += [f"{name}: {text}" for text in notes(manifest, self._machine)]
        return "; ".join(problems(manifest, self._machine)) or None

    def _misfit(self, first: str, engine: str) -> str | None:
        """Return why an engine does not fit the step that makes its windows."""
        made, expected = (read_manifest(self._folder / name / VERSION) for name in (engine, first))
        if not made and not expected and not first.startswith(FIRST_STEP):
            return None  # no ensemble of ours
        for name, manifest, needed in ((engine, made, "engine_sha256"), (first, expected, "voice_sha256")):
            if needed not in manifest:
                what = f"no {needed} in its {MANIFEST_FILE}" if manifest else f"no {MANIFEST_FILE}"
                return f"{name} has {what}, so that nobody knows which voice it is of: {_REBUILD}"
        keys = [key for key in ("voice_sha256", "window", "halo", "f0_floor") if key in expected]
        different = [key for key in keys if made.get(key) != expected[key]]
        if not different:
            return None
        got, wanted = (", ".join(_say(key, manifest) for key in different) for manifest in (made, expected))
        return f"it was built with {got}, but {first} in front of it has {wanted}: build both with one command"

    def _broken_ensembles(self, left_out: Mapping[str, str]) -> dict[str, str]:
        """Return the ensembles that have a step which will not be there, and which."""
        broken = {}
        for name in self.configs.keys() - left_out.keys():
            missing = [step for step in self.steps[name] if step not in self.configs or step in left_out]
            if missing:
                reason = left_out.get(missing[0], "it is not in the repository")
                broken[name] = f"its step {missing[0]} is left out: {reason}"
        return broken

    def _has_gpu(self) -> bool:
        if self._gpu is None:
            self._machine = self._machine or read_machine()
            self._gpu = bool(self._machine.gpus)
        return self._gpu


def _read_sums(version: Path) -> dict[str, str]:
    """Return the hashes of the files that a build put beside a model's engine; none of an earlier build."""
    file = version / SUMS_FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}


def _changed(version: Path, parts: Mapping[str, str], described: str) -> str | None:
    """Return what is wrong with the first file that is missing or has another hash than its description."""
    for part, sha256 in parts.items():
        if not (version / part).is_file():
            return f"{part} is missing, which its {described} describes: {_REBUILD}"
        if _sha256(version / part) != sha256:
            return f"{part} is not the file that its {described} describes: {_REBUILD}"
    return None


def _read_config(model: Path) -> str:
    """Return the text of a model's `config.pbtxt` without comments."""
    return _COMMENT.sub(r"\1", (model / "config.pbtxt").read_text(encoding="utf-8"))


def _reached(steps: Callable[[str], list[str]], models: Iterable[str]) -> set[str]:
    """Return models and all that they are composed of, by the steps of each; loops end."""
    found: set[str] = set()
    waiting = list(models)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += steps(name)
    return found


def _say(key: str, manifest: Mapping[str, Any]) -> str:
    """Return one fact of a manifest in words."""
    if key == "voice_sha256":
        return f"voice {manifest.get('voice')} ({str(manifest.get(key))[:8]})"
    return f"{key} {manifest.get(key)}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:  # hashlib.file_digest came with Python 3.11
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Print the models of a repository that can be served here.")
    parser.add_argument("repository", type=Path, metavar="MODEL_REPOSITORY")
    parser.add_argument("wanted", nargs="*", metavar="MODEL", help="models to serve (default: all that can be)")
    parser.add_argument("--gpu", choices=["yes", "no"], help="whether there is a GPU (default: look)")
    parser.add_argument("--links", type=Path, metavar="FOLDER", help="also make a folder of links to them")
    args = parser.parse_args(arguments)
    try:
        servable = find_servable(args.repository, args.wanted, gpu=None if args.gpu is None else args.gpu == "yes")
        if args.links is not None:
            servable.link(args.links)
    except (ServableError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    said = [f"{name} is left out: {reason}" for name, reason in sorted(servable.left_out.items())]
    sys.stderr.write("".join(f"{line}\n" for line in (*said, *servable.notes)))
    sys.stdout.write("".join(f"{name}\n" for name in servable.models))
    return 0


if __name__ == "__main__":
    sys.exit(main())
