"""The help text of a verb: options in groups, each with what it takes, its meaning and default."""

from __future__ import annotations

import argparse
import shutil
import textwrap
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from .messages import with_flags

COLUMN = 34
"""Where the meaning of an option begins."""
LABELS: dict[Any, tuple[str, str]] = {
    int: ("INT", "a whole number"),
    float: ("NUMBER", "a number"),
    str: ("TEXT", "text"),
    Path: ("PATH", "a path"),
    bool: ("true|false", "true or false"),
    type(None): ("null", "null"),
}
"""Type -> its label in the help text, and what it is called in a message."""


def flag(name: str) -> str:
    """`inputs.size_px` -> `--inputs.size-px`."""
    return f"--{name.replace('_', '-')}"


def help_text(
    program: str,
    description: str,
    actions: Iterable[argparse.Action],
    layout: Mapping[str, Sequence[str]],
    required: Collection[str] = (),
) -> str:
    """Usage, description, positional arguments and options.

    Args:
        program: with its verb.
        description: of the verb.
        actions: of its parser.
        layout: see `Options`.
        required: options that must be given.
    """
    width = max(60, min(100, shutil.get_terminal_size((100, 24)).columns))
    shown = [action for action in actions if action.help != argparse.SUPPRESS]
    positional = [action for action in shown if not action.option_strings]
    optional = {action.dest: action for action in shown if action.option_strings}
    needed = [f"{flag(name)} {label(a)}" for name, a in optional.items() if name in required]
    words = [program, *map(label, positional), *needed, "[options]"]
    usage = textwrap.fill(f"usage: {' '.join(words)}", width, subsequent_indent=" " * 7)
    parts = [usage, textwrap.fill(description, width)]
    if positional:
        parts.append("\n".join(_entry(label(a), a.help or "", width) for a in positional))
    for title, names in grouped(list(optional), layout).items():
        entries = [
            _entry(_head(a), _meaning(a, optional, a.dest in required), width)
            for a in map(optional.__getitem__, names)
        ]
        parts.append("\n".join([f"{title}:", *entries]))
    return "\n\n".join(parts) + "\n"


def grouped(names: Sequence[str], layout: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Heading -> options, in the order of the layout, and at the end what it does not name."""
    groups: dict[str, list[str]] = {}
    left = list(names)
    for title, wanted in layout.items():
        here = [n for want in wanted for n in left if n == want or n.startswith(f"{want}.")]
        if here:
            groups[title] = here
        left = [name for name in left if name not in here]
    if left:
        groups["Other" if groups else "Options"] = left
    return groups


def label(action: argparse.Action) -> str:
    """What an option takes, as the help text shows it: `INT`, `cm|mm`, `[NUMBER,NUMBER]`."""
    if action.nargs == 0:
        return ""
    if _is_nested(action):
        one = "FILE"
    elif action.choices is not None:
        one = "|".join(map(str, action.choices))
    elif (hint := getattr(action, "_typehint", None)) is not None:
        one = _label(hint)
        if action.default is None:  # null is what it is without the option
            one = one.removesuffix("|null")
    else:
        one = str(action.metavar or "TEXT")
    if isinstance(action.nargs, int) and action.dest != "print_config":
        return " ".join([one] * action.nargs)
    return {"+": f"{one} [{one} ...]", "*": f"[{one} ...]"}.get(str(action.nargs), one)


def expected(action: argparse.Action) -> str:
    """What an option takes, for a message: "a whole number or auto"."""
    if action.choices is not None:
        return _choices(list(action.choices))
    hint = getattr(action, "_typehint", None)
    return _expected(hint) if hint is not None else "text"


def _label(hint: Any) -> str:
    kind, inner = get_origin(hint), get_args(hint)
    if hint in LABELS:
        return LABELS[hint][0]
    if kind is Literal:
        return "|".join(map(str, inner))
    if kind in (Union, types.UnionType):
        return "|".join(map(_label, _shown(inner)))
    if not inner:
        return str(getattr(hint, "__name__", "TEXT")).upper()
    if kind is not tuple:  # a sequence of any length
        inner = (inner[0], ...)
    return f"[{','.join('...' if one is ... else _label(one) for one in inner)}]"


def _expected(hint: Any) -> str:
    kind, inner = get_origin(hint), get_args(hint)
    if hint in LABELS:
        return LABELS[hint][1]
    if kind is Literal:
        return _choices(inner)
    if kind in (Union, types.UnionType):
        return " or ".join(map(_expected, _shown(inner)))
    quoted = " with numbers in quotes, as '[\"1\"]'" if str in inner else ""
    return f"a list {_label(hint)}{quoted}" if inner else _label(hint)


def _shown(hints: Sequence[Any]) -> list[Any]:
    """The members of a union; a path that may also be given as text is a path."""
    return [one for one in hints if not (one is str and Path in hints)]


def _choices(values: Sequence[Any]) -> str:
    return str(values[0]) if len(values) == 1 else f"one of {', '.join(map(str, values))}"


def _is_nested(action: argparse.Action) -> bool:
    """Whether it is the option of a whole nested dataclass, as `--inputs`."""
    return type(action).__name__ == "_ActionConfigLoad"


def _head(action: argparse.Action) -> str:
    if action.dest == "help":
        return "-h, --help"
    if action.dest == "print_config":
        return flag(action.dest)
    return f"{flag(action.dest)} {label(action)}".rstrip()


def _entry(head: str, meaning: str, width: int) -> str:
    text = " ".join(meaning.split())
    indent = " " * COLUMN
    if len(head) + 4 > COLUMN:
        return f"  {head}\n" + textwrap.fill(
            text, width, initial_indent=indent, subsequent_indent=indent
        )
    return textwrap.fill(
        text, width, initial_indent=f"  {head}".ljust(COLUMN), subsequent_indent=indent
    )


def _meaning(action: argparse.Action, all_: Collection[str], required: bool) -> str:
    """The help of an option, which may name others in backquotes, and its default."""
    if action.dest == "help":
        return "show this text"
    if action.dest == "print_config":
        return "print the options with their values as YAML, for --config, and stop"
    if _is_nested(action):
        return f"YAML file with the options --{action.dest}.* below"
    prefix = f"{action.dest.rpartition('.')[0]}."
    names = {name: flag(name) for name in all_}
    siblings = {n.removeprefix(prefix): f for n, f in names.items() if n.startswith(prefix)}
    text = with_flags((action.help or "").strip().rstrip("."), {**names, **siblings})
    if required:
        return f"{text} (required)"
    if action.nargs == 0 or action.default in (None, argparse.SUPPRESS, []):
        return text
    return f"{text} (default: {_written(action.default)})"


def _written(value: Any) -> str:
    """A value as it is given to an option."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    return str(value)
