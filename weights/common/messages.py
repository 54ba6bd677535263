"""Error messages of the command lines: flags in place of parameter names, and jsonargparse's texts
in the user's words.

The texts of jsonargparse are recognized by patterns. What no pattern recognizes is shown as it is,
on one line; `tests/weights/common/test_commandline.py` fails where a new version words them anew.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping

_VALUE = re.compile(r"(?:Got|Given) value: (.*?)(?: Given value type: .*)?$")
LONGEST = 2000
"""Characters of a message; words of a file can be longer."""


def printable(text: str) -> str:
    """A text for a terminal: U+FFFD for what would move its cursor, colour it or turn it round."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def one_line(text: str) -> str:
    """A message as one line for a terminal, its middle left out where it is very long."""
    line = printable(" ".join(text.split()))
    if len(line) <= LONGEST:
        return line
    return f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def with_flags(text: str, flags: Mapping[str, str]) -> str:
    """A library's error with the names of parameters turned into flags.

    A name is replaced where it cannot be mistaken for a word:

    - everywhere in backquotes, as `` `out` ``, and directly before a value, as `steps=0`; in
      backquotes also names with an underscore that belong to another verb (score `with_paths`);
    - everywhere, if it holds an underscore or a dot (`validate_every`, `inputs.size_px`), except
      within quotes, file names and paths;
    - at the beginning of the text, before "must" or a quoted value, alone or in a list: `m must`,
      `n and workers must`, `place 'gpu' needs`.

    Args:
        text: the error.
        flags: of this verb, parameter -> flag. A parameter of a nested dataclass may also be named
            without the dataclass, if only one has it (`size_px` for `inputs.size_px`).
    """
    flags = _with_short_names(flags)
    if not flags:
        return text
    name = "|".join(sorted(map(re.escape, flags), key=len, reverse=True))
    whole = rf"(?<![\w./'\"=-])({name})(?![\w/'\"-]|\.\w)"

    def flag(found: re.Match[str]) -> str:
        return flags[found[1]]

    start = re.match(rf"(?:(?:{name})(?:, | and | or ))*(?:{name})(?= must | ['\"])", text)
    if start:
        text = re.sub(whole, flag, start[0]) + text[start.end() :]
    text = re.sub(rf"`({name})`", flag, text)
    text = re.sub(r"`([a-z]+(?:_[a-z]+)+)`", lambda m: f"--{m[1].replace('_', '-')}", text)
    text = re.sub(rf"(?<![\w./'\"-])({name})=(?=\S)", lambda m: f"{flags[m[1]]} ", text)
    return re.sub(whole, lambda m: flags[m[1]] if "_" in m[1] or "." in m[1] else m[0], text)


def _with_short_names(flags: Mapping[str, str]) -> dict[str, str]:
    """`inputs.size_px` is also called `size_px`, unless two options are called so."""
    leaves = [name.rpartition(".")[2] for name in flags]
    short = {
        name.rpartition(".")[2]: flag
        for name, flag in flags.items()
        if leaves.count(name.rpartition(".")[2]) == 1
    }
    return {**short, **flags}


def refusal(message: str, flags: Mapping[str, str], expected: Callable[[str], str]) -> str:
    """A text of jsonargparse or argparse, on one line, in the user's words.

    Args:
        message: the text.
        flags: of this verb, parameter -> flag; of a positional argument what the help calls it.
        expected: what the option of a parameter takes, as "a whole number".
    """
    line = " ".join(message.split())
    if found := re.fullmatch(r"the following arguments are required: (.*)", line):
        return f"missing: {', '.join(_flag(name, flags) for name in found[1].split(', '))}"
    if found := re.fullmatch(r"unrecognized arguments: (.*)", line):
        words = found[1].split()
        option = next((word for word in words if word.startswith("-")), None)
        if option is None:
            return f"unexpected argument {words[0]!r}"
        return _unknown(option.partition("=")[0].lstrip("-"), flags)
    if found := re.fullmatch(r"Option '([^']+)' is not accepted", line):
        return _unknown(found[1], flags)
    if found := re.fullmatch(r"Group '([^']+)' does not accept option '([^']+)'", line):
        return _unknown(f"{found[1]}.{found[2]}", flags)
    if found := re.match(r'Parser key "([^"]+)": (.*)', line):
        flag, value = _flag(found[1], flags), _VALUE.search(line)
        if value and found[1] in flags:
            return f"{flag} must be {expected(found[1])}, got {value[1]}"
        return f"{flag}: {found[2]}"
    if found := re.match(r"argument (--[\w.-]+)[^:]*: invalid choice: (.*) \(choose from ", line):
        name = found[1][2:].replace("-", "_")
        return f"{_flag(name, flags)} must be {expected(name)}, got {found[2]}"
    if found := re.match(r"argument (--[\w.-]+)[^:]*: (.*)", line):
        what = re.sub(r"expected one argument", "needs a value", found[2])
        what = re.sub(r"expected (\d+) arguments", r"needs \1 values", what)
        what = re.sub(r"ignored explicit argument", "takes no value, got", what)
        return f"{_flag(found[1][2:].replace('-', '_'), flags)} {what}"
    if found := re.match(r"(?:Problems parsing config|Unexpected config): (.*)", line):
        return f"--config: not a YAML file with options: {found[1]}"
    return re.sub(r"--([\w.]+)", lambda found: _flag(found[1], flags), line)


def _flag(name: str, flags: Mapping[str, str]) -> str:
    return flags.get(name, name if name.isupper() else f"--{name.replace('_', '-')}")


def _unknown(name: str, flags: Mapping[str, str]) -> str:
    flag = f"--{name.replace('_', '-')}"
    offered = {known for known in flags.values() if known.startswith("--") and known != "--help"}
    near = difflib.get_close_matches(flag, offered, n=3)
    return f"unknown option {flag}" + (f"; nearest: {', '.join(near)}" if near else "")
