"""The code that makes and judges engines, found by following the imports of our own packages, and its hash."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("sifigan_triton", "preprocess", "postprocess")
ENTRIES = ("sifigan_triton.build.engine_builder", "sifigan_triton.voice.folder")
"""What makes an engine and judges it, and what reads the voice that it is made from."""
ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds our packages, in a checkout and where they are installed."""


@cache
def code_hash(root: Path = ROOT) -> str:
    """Return the SHA-256 of the names and the text of all modules that the entries reach, in hexadecimal."""
    digest = hashlib.sha256()
    for module, file in sorted(engine_modules(root).items()):
        digest.update(f"{module}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def engine_modules(root: Path = ROOT) -> dict[str, Path]:
    """Return the file of every module that the entries reach through imports, by its name.

    Other people's packages are left out (the manifest names their versions), and so is the `__init__.py` of a package
    of which only modules are imported.

    Args:
        root: the folder that holds our packages.

    """
    found: dict[str, Path] = {}
    left = list(ENTRIES)
    while left:
        module = left.pop()
        if module not in found:
            found[module] = _files(root, module)[0]
            left += _imports(root, module, found[module])
    return found


def _imports(root: Path, module: str, file: Path) -> Iterator[str]:
    """Go through the modules of our own that a module imports, wherever in its text."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            submodules = [f"{origin}.{alias.name}" for alias in node.names]
            names = [name if _files(root, name) else origin for name in submodules]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [_pattern(node.args[0], module)]
        else:
            continue
        for name in names:
            if name.partition(".")[0] in PACKAGES:
                yield from (_name(root, path) for path in _files(root, name))


def _pattern(argument: ast.expr, module: str) -> str:
    """Return the name that `import_module` is called with; `*` stands for what is known at run time only."""
    if isinstance(argument, ast.JoinedStr):
        return "".join(_pattern(part, module) for part in argument.values)
    if isinstance(argument, ast.FormattedValue):
        return _pattern(argument.value, module)
    if isinstance(argument, ast.Constant):
        return str(argument.value)
    return module if ast.unparse(argument) == "__name__" else "*"


def _files(root: Path, name: str) -> list[Path]:
    """Return the files of a module or, with `*` in the name, of modules; none if there are none."""
    path = name.replace(".", "/")
    return [*root.glob(f"{path}/__init__.py"), *root.glob(f"{path}.py")]


def _name(root: Path, file: Path) -> str:
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
