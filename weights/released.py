"""Weights that come with the package, by name: `released` is the newest version.

Beside each weights file lie its regions, its card, and its scores on synthetic scans. A name is a
plain word. It means the packaged file wherever weights are named, whatever lies in the working
directory; `./released` is a file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

FOLDER = Path(__file__).with_name("packaged")
NEWEST = "released"
"""The name of the newest version."""
WEIGHTS, REGIONS, CARD, SCORES = ".safetensors", ".regions.json", ".md", ".scores.csv"
"""What the names of its files end in."""
EXPORTED = ".onnx"
"""What takes the place of the weights file in the scorer, which has no torch to read that."""


def versions() -> tuple[str, ...]:
    """The names of the versions in this installation, oldest first: released-1, released-2."""
    paths = (path for ending in (WEIGHTS, EXPORTED) for path in FOLDER.glob(f"released-*{ending}"))
    return tuple(sorted({path.stem for path in paths if _number(path.stem)}, key=_number))


def resolve(path: str | Path, ending: str = WEIGHTS) -> Path:
    """The file that is meant where one is named: a packaged one, or the path itself.

    A `Path` is always a path: only a text can be a name.

    Args:
        path: a path or a name.
        ending: which of the files of a version is looked for.

    Raises:
        ValueError: a name of which this installation has no file.
    """
    if not (isinstance(path, str) and (path == NEWEST or _number(path))):
        return Path(path)
    there = versions()
    if not there:
        raise ValueError(
            f"no weights called {path}: this installation has no released weights; install the "
            "package's wheel, or give the file or run folder of weights that you trained"
        )
    if path != NEWEST and path not in there:
        raise ValueError(
            f"no weights called {path} in this installation; it has: {', '.join(there)}"
        )
    file = FOLDER / f"{there[-1] if path == NEWEST else path}{ending}"
    if ending == WEIGHTS and not file.exists():
        return file.with_suffix(EXPORTED)
    return file


def beside(name: str | None, ending: str) -> Path | None:
    """A file that comes with released weights; None for other weights, or where it is absent.

    Args:
        name: what the weights are called in their provenance.
        ending: which file.
    """
    path = FOLDER / f"{name}{ending}"
    return path if name and _number(name) and path.is_file() else None


def check_there(*given: object) -> None:
    """Check that what was given exists, before what reads it is imported, which takes seconds.

    given: paths, or names of released weights; all else is passed over (None, loaded weights).

    Raises `ValueError` where there is nothing of a name. What cannot be reached counts as there.
    """
    for one in given:
        if isinstance(one, str | Path) and not _is_there(resolve(one).expanduser()):
            raise ValueError(f"{one} does not exist; give an existing file or folder")


def _is_there(path: Path) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _number(name: str) -> int:
    """The number of a version; 0 where the word is no version's name."""
    found = re.fullmatch(r"released-([1-9]\d{0,3})", name)
    return int(found[1]) if found else 0
