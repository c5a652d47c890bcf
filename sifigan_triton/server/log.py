"""What a Triton server's log says about why it did not start."""

from __future__ import annotations

import re

_FAILED_MODEL = re.compile(r'"failed to load \'(?P<model>[^\']+)\' version (?P<version>\d+): (?P<why>.*)"$')
_DEAD_STUB = re.compile(r'pb_stub\.cc:\d+\] "? ?(?P<text>Failed to preinitialize Python stub: .*?)"?$')
_FATAL = re.compile(r"^(?:error: |.*error while loading shared libraries: )(?P<text>.*)$")
_ERROR_LINE = re.compile(r'^E\d{4} \S+ \d+ \S+\] "?(?P<text>.*?)"?$')
_NOISE = (
    "CudaDriverHelper has not been initialized",  # said on every machine without a GPU
    "CUDA driver version is insufficient",  # likewise, for each ensemble
    "failed to load all models",  # the sum of what the other lines say
)

_FIXES = (
    (r"No module named '?(?P<name>[\w.]+)", "install it into this Python: `make` installs requirements.lock"),
    (r"already in use|Address in use|failed to start HTTP", "stop what listens on that port or choose another port"),
    (
        r"shared memory|/dev/shm",
        "give /dev/shm more room: `mount -o remount,size=2G /dev/shm`, in Docker `--shm-size=2g`",
    ),
    (r"libpython\d\.\d+\.so", "install Python's shared library, on Debian and Ubuntu `apt-get install libpython3.11`"),
    (r"GLIBC_\d", "use a machine with glibc 2.35 or newer: Debian 12, Ubuntu 22.04"),
    (
        r"can't be parsed|Unable to read the model|Protobuf parsing failed|PytorchStreamReader|not valid JSON",
        "a file of the model is damaged: run sifigan-triton build, which makes it anew",
    ),
    (
        r"failed to stat file|model file not found|not available or ambiguous|No such file",
        "run sifigan-triton build, which writes the models",
    ),
)


def explain(log: str, tail_lines: int = 8) -> str:
    """Return what the log of a server that failed says: each model with its reason, then the fix if one is known.

    Args:
        log: the whole log, in Triton's default format.
        tail_lines: how many of the last lines are quoted when the log names no reason.

    """
    reasons = _reasons(log)
    if not reasons:
        lines = [line for line in log.splitlines() if line.strip() and not line.startswith(("+", "|"))]
        reasons = ["it gave no reason; its last lines:", *lines[-tail_lines:]] if lines else ["its log is empty"]
    text = "\n".join(reasons)
    fix = next((fix for pattern, fix in _FIXES if re.search(pattern, text)), None)
    return f"{text}\nfix: {fix}" if fix else text


def failed_models(log: str) -> set[str]:
    """Return the models that could not be loaded, by the log."""
    return {match["model"] for line in log.splitlines() if (match := _FAILED_MODEL.search(line))}


def _reasons(log: str) -> list[str]:
    """Return the reasons that the log names, models first, without repetition."""
    models: dict[str, None] = {}
    others: dict[str, None] = {}
    for line in log.splitlines():
        if any(noise in line for noise in _NOISE):
            continue
        if match := _FAILED_MODEL.search(line):
            models[f"model '{match['model']}' version {match['version']}: {_unescape(match['why'])}"] = None
        elif match := _DEAD_STUB.search(line) or _FATAL.match(line) or _ERROR_LINE.match(line):
            others[_unescape(match["text"])] = None
    return list(models) or list(others)


def _unescape(text: str) -> str:
    r"""Turn the `\n` of Triton's one-line messages into line breaks."""
    return text.replace("\\n", "\n").strip()
