"""Docker or podman, whichever is there: both take the same commands. Used by `benchmarks.image`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CA_BUNDLE = "/etc/ssl/certs/00000000.0"
"""Where a build finds the certificates of this machine: pip is told, and uv reads files that are named by a hash."""
_CAP_SYS_RESOURCE = 1 << 24
_UNIFIED = Path("/sys/fs/cgroup/unified")
_PIP_KEYS = ("index-url", "extra-index-url", "find-links", "timeout")


class ContainerEngine:
    """Runs commands of Docker or podman."""

    def __init__(self, name: str | None = None) -> None:
        """Find one.

        Args:
            name: docker or podman; None: the first of them that works.

        Raises:
            FileNotFoundError: if there is none.

        """
        names = (name,) if name else ("docker", "podman")
        found = next((each for each in names if _works(each)), None)
        if found is None:
            raise FileNotFoundError(f"there is no {' or '.join(names)} that works: podman runs without a daemon")
        self.name = found
        self._environment = dict(os.environ)
        self._prefix: list[str] = []
        self._limits: list[str] = []
        if found == "podman":
            self._fit_machine()

    def _fit_machine(self) -> None:
        """Have podman run where it may not raise limits, and where both versions of control groups are in use."""
        status = Path("/proc/self/status").read_text(encoding="ascii")
        capabilities = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16)
        if os.geteuid() == 0 and not capabilities & _CAP_SYS_RESOURCE:
            with tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False) as file:
                file.write("[containers]\ndefault_ulimits = []\n")
            self._environment["CONTAINERS_CONF"] = file.name
            self._limits = ["--ulimit", "host"]
        controllers = _UNIFIED / "cgroup.controllers"
        if controllers.is_file() and controllers.read_text(encoding="ascii").strip():
            self._prefix = ["unshare", "--mount", "sh", "-c", f'umount {_UNIFIED} && exec "$@"', "sh"]

    def command(self, *words: str | Path) -> list[str]:
        """Return the command line."""
        limits = self._limits if words[0] == "run" else []
        return [*self._prefix, self.name, str(words[0]), *limits, *map(str, words[1:])]

    def start(self, *words: str | Path, log: Path) -> subprocess.Popen[bytes]:
        """Start a command whose output goes to a file."""
        with log.open("wb") as file:
            return subprocess.Popen(self.command(*words), env=self._environment, stdout=file, stderr=file)

    def run(self, *words: str | Path, text: str | None = None, check: bool = True) -> str:
        """Run a command and return its standard output.

        Args:
            words: the engine's command and its arguments.
            text: its standard input.
            check: whether it has to succeed.

        Raises:
            RuntimeError: if it fails, with what it said.

        """
        done = subprocess.run(
            self.command(*words), env=self._environment, input=text, capture_output=True, text=True, check=False
        )
        if check and done.returncode != 0:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
            raise RuntimeError(f"{self.name} {words[0]} ended with {done.returncode}:\n{said}")
        return done.stdout

    def build(self, *words: str | Path, folder: Path, log: Path) -> None:
        """Build an image; where this machine has package indexes and certificates of its own, the build gets them.

        Raises:
            RuntimeError: if it fails.

        """
        options = []
        if self.name == "podman":
            options = ["--format=docker", "--isolation=chroot", "--network=host", "--pull=missing", *_mounts(folder)]
        if self.start("build", *options, *words, log=log).wait() != 0:
            raise RuntimeError(f"the build failed; the end of {log}:\n" + "\n".join(log.read_text().splitlines()[-25:]))

    def compressed_bytes(self, tag: str) -> int:
        """Return the size of an image as gzip leaves it, which is about what a registry sends."""
        pipe = f"{shlex.join(self.command('save', tag))} | gzip -6 | wc -c"
        done = subprocess.run(["sh", "-c", pipe], env=self._environment, capture_output=True, text=True, check=True)
        return int(done.stdout)


def _works(name: str) -> bool:
    """Tell whether an engine is there, with the daemon that it may need."""
    return (
        shutil.which(name) is not None
        and subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0
    )


def _mounts(folder: Path) -> list[str]:
    """Return the mounts that let pip, uv and apt of a build reach what those of this machine reach.

    Args:
        folder: where the configurations for them are written.

    """
    found = _pip_settings()
    settings = {key: found[key] for key in _PIP_KEYS if key in found}
    mounts = {Path("/etc/apt"): "/etc/apt"} if Path("/etc/apt").is_dir() else {}
    bundle = found.get("cert") or os.environ.get("SSL_CERT_FILE")
    lines = ["[global]"] + [f"{key} = {value}" for key, value in settings.items()]
    if bundle:
        mounts[Path(bundle)] = CA_BUNDLE
        lines.append(f"cert = {CA_BUNDLE}")
    if len(lines) > 1:
        pip, uv = folder / "pip.conf", folder / "uv.toml"
        pip.write_text("\n".join(lines) + "\n", encoding="utf-8")
        uv.write_text(_uv_settings(settings), encoding="utf-8")
        mounts |= {pip: "/etc/pip.conf", uv: "/etc/uv/uv.toml"}
    for value in " ".join(settings.values()).split():
        local = Path(value.removeprefix("file://"))
        local = local.parent if value.startswith("file://") else local  # an index has its files beside it
        if local.is_absolute() and local.is_dir():
            mounts[local] = str(local)
    return [f"--volume={source}:{target}:ro" for source, target in mounts.items()]


def _pip_settings() -> dict[str, str]:
    """Return pip's settings of this machine, by their names."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    found = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        found[name.rpartition(".")[2]] = " ".join(shlex.split(value))
    return found


def _uv_settings(settings: dict[str, str]) -> str:
    """Return them as uv reads them."""
    lines = ["system-certs = true"]
    links = settings.get("find-links", "").split()
    if links:
        lines.append(f"find-links = {links}")
    for key, default in (("index-url", "true"), ("extra-index-url", "false")):
        for url in settings.get(key, "").split():
            if not url.startswith("file://"):  # a copy of some of an index, whose other wheels uv would not look for
                lines += ["[[index]]", f'url = "{url}"', f"default = {default}"]
    return "\n".join(lines) + "\n"
