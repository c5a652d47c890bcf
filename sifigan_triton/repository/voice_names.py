"""The names of the models of several voices in one repository.

The models of a voice `a` have its name behind their first word: `sifigan-a`, `sifigan-a-openvino-fp32`, `preprocess-a`.
One voice of a repository may go without a name. Standard library only (Python 3.10 or newer), as `servable.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

MAIN = "sifigan"
"""The ensemble that clients call and health checks ask, of the voice without a name."""
FIRST_STEP = "preprocess"
"""How the names of the models begin that hold a voice's statistics and cut windows."""
LAST_STEP = "postprocess"
"""How the names of the models begin that know no window."""
LONGEST = 40
"""Characters of a name: it stands in paths, labels of metrics and names of shared memory."""
RESERVED = frozenset({"openvino", "onnx", "pt", "trt", "ensemble", "tensors", "dynamic", "stream"})
"""Words behind which a model's own name goes on, so that a voice's name has none of them: voice `a` beside a voice
`a-tensors` would give two models one name."""
_FIRST_WORDS = (MAIN, FIRST_STEP, LAST_STEP)
_NAME = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")


def check_voice_name(name: str) -> str:
    """Return a name that a voice may have in a repository.

    Raises:
        ValueError: if it may not, and why.

    """
    if len(name) > LONGEST or not _NAME.fullmatch(name):
        raise ValueError(
            f"the voice's name is {name[:60]!r}, expected letters and digits, in words with one - between them, at "
            f"most {LONGEST} characters"
        )
    if taken := [word for word in name.split("-") if word.lower() in RESERVED]:
        raise ValueError(
            f"the voice's name is {name!r}, but {taken[0]} is a word of the models' own names, such as "
            f"{MAIN}-{taken[0]}: leave it out (reserved: {', '.join(sorted(RESERVED))})"
        )
    return name


def of_voice(model: str, voice: str) -> str:
    """Return the name that a model has in a repository of several voices; "" is the voice without a name."""
    first, _, rest = model.partition("-")
    return "-".join(filter(None, (first, voice, rest)))


def voice_of(model: str) -> str | None:
    """Return the voice that a model belongs to, by its name: "" is the one without; None: it is no model of ours."""
    first, *words = model.split("-")
    if first not in _FIRST_WORDS:
        return None
    own = next((at for at, word in enumerate(words) if word in RESERVED), len(words))
    return "-".join(words[:own])


def main_ensembles(models: Collection[str]) -> list[str]:
    """Return those of some models that clients call, one of each voice: it has a last step beside it."""
    voices = {name.removeprefix(LAST_STEP) for name in models if name.startswith(LAST_STEP)}
    return sorted(f"{MAIN}{voice}" for voice in voices if f"{MAIN}{voice}" in models)
