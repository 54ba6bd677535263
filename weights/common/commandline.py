"""What both command lines share: the list of verbs, exit statuses, and one line for a mistake.

Exit status: 0 success, 2 a user's mistake, 1 a fault, 130 interrupted. `--debug` shows the
traceback of a mistake. Options are in `options`; this module imports it only when a verb is
called, so that the list of verbs opens at once.
"""

from __future__ import annotations

import difflib
import errno
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from . import messages
from .distribution import DISTRIBUTION
from .notes import Note

if TYPE_CHECKING:
    from .options import Options


class Verb(NamedTuple):
    """A verb of a command line.

    run: offers its options, reads the words after the verb with them, and does the work. about: a
    line for the list of verbs. group: the heading under which the list shows it. resumes: whether
    the same command, repeated, resumes what was interrupted.
    """

    run: Callable[[Options, Sequence[str]], None]
    about: str
    group: str = "Verbs"
    resumes: bool = False


def main(program: str, about: str, verbs: Mapping[str, Verb], argv: Sequence[str] | None) -> int:
    """Run a verb. Returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_list(program, about, verbs))
        return 0
    if words[0] == "--version":
        return _show_version()
    if words[0] not in verbs:
        near = difflib.get_close_matches(words[0], verbs, n=1)
        nearest = f"; nearest: {near[0]}" if near else ""
        allowed = ", ".join(verbs)
        print(f"{program}: unknown verb {words[0]!r}; allowed: {allowed}{nearest}", file=sys.stderr)
        return 2
    return _run(f"{program} {words[0]}", verbs[words[0]], words[1:], debug)


def main_of_one(program: str, verb: Verb, argv: Sequence[str] | None) -> int:
    """Run a command without verbs. Returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        return _show_version()
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    return _run(program, verb, words or ["--help"], debug)


def _show_version() -> int:
    from importlib.metadata import version

    print(version(DISTRIBUTION))
    return 0


def _run(name: str, verb: Verb, words: Sequence[str], debug: bool) -> int:
    from .options import Options

    options = Options(prog=name, allow_abbrev=False)
    try:
        with _notes_shown(name):
            verb.run(options, words)
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        how = "resume it" if verb.resumes else "start over"
        how = str(error) or f"repeat the command to {how}"
        print(f"\n{name}: interrupted; {how}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # as `| head` does, which wants no more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:  # every refusal of this project is a ValueError
        if debug:
            raise
        text = messages.with_flags(str(error), options.flags())
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            text = f"the disk is full ({error.strerror}); make room and repeat the command"
        print(messages.one_line(f"{name}: {text}"), file=sys.stderr)
        return 2
    return 0


@contextmanager
def _notes_shown(name: str) -> Iterator[None]:
    """Show each note as a line on standard error."""
    usual = warnings.showwarning

    def showwarning(message: Any, category: type[Warning], *more: Any, **others: Any) -> None:
        if issubclass(category, Note):
            print(f"{name}: note: {message}", file=sys.stderr)
        else:
            usual(message, category, *more, **others)

    warnings.showwarning = showwarning
    try:
        yield
    finally:
        warnings.showwarning = usual


def _list(program: str, about: str, verbs: Mapping[str, Verb]) -> str:
    """The verbs under the headings of their groups."""
    width = max(map(len, verbs))
    lines = [f"usage: {program} VERB [options]", "", about]
    for group in dict.fromkeys(verb.group for verb in verbs.values()):
        lines += ["", f"{group}:"]
        lines += [
            f"  {name:<{width}}  {verb.about}"
            for name, verb in verbs.items()
            if verb.group == group
        ]
    return "\n".join(
        [
            *lines,
            "",
            f"{program} VERB --help   lists the options of a verb",
            f"{program} --version     prints the version",
            "--debug, with any verb, shows the traceback of an error",
        ]
    )


def show(answer: Any) -> None:
    """Print a verb's answer on standard output: text as it is, everything else as JSON.

    JSON holds no number that is not finite: null stands for it.
    """
    if isinstance(answer, str):
        answer = messages.printable(answer)
    else:
        answer = json.dumps(_finite(answer), indent=1, allow_nan=False)
    print(answer, flush=True)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
