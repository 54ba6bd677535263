"""What both command lines share: verbs whose options and help come from their functions, and
mistakes that are answered in one line.

Exit status: 0 success, 2 a user's mistake, 1 a fault, 130 interrupted. `--debug` shows the
traceback of a mistake.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

T = TypeVar("T")


class Verb(NamedTuple):
    """run:

    takes the words after the verb. about: a line for the list. resumes: whether the same command
    goes on where it was cut.
    """

    run: Callable[[list[str]], None]
    about: str
    resumes: bool = False


def parser(program: str, description: str) -> Any:
    """A parser that answers a mistake with one line."""
    from jsonargparse import ArgumentParser

    class OneLine(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            options = [option for action in self._actions for option in action.option_strings]
            self.exit(
                2,
                f"{self.prog}: {_mistake(message, options)}; {self.prog} --help lists the "
                "options\n",
            )

    return OneLine(prog=program, description=description, exit_on_error=True)


def _mistake(message: str, options: Sequence[str]) -> str:
    """The parser's message on one line, in the user's words, with the options that resemble one it
    does not know.
    """
    line = " ".join(message.split())
    line = re.sub(r'^Parser key "([^"]+)":', r"--\1:", line)
    missing = re.search(r"arguments are required: (\w+)$", line)
    if missing and f"--{missing[1]}" in options:
        line = f"{line[: missing.start(1)]}--{missing[1]}"
    union = (
        r"Does not validate against any of the Union subtypes Subtypes: (\[.*?\]) "
        r"Errors:.*Given value: "
    )
    line = re.sub(union, r"Expected one of \1. Got value: ", line)
    line = re.sub(r"<class '(\w+)'>", r"\1", line).replace("NoneType", "null")
    line = line.replace("a typing.Literal", "one of ").replace("typing.Literal", "")
    unknown = re.search(r"(?:unrecognized arguments: |Option ')(?:--)?([\w.]+)", line)
    near = difflib.get_close_matches(f"--{unknown[1]}", options, n=3) if unknown else []
    return f"{line}; nearest: {', '.join(near)}" if near else line


def add_options(to: Any, function: Callable[..., Any], given: set[str]) -> None:
    """A function's arguments as options, but for those that are given otherwise."""
    to.add_function_arguments(function, skip={*given, "progress"}, fail_untyped=True)


def arguments(parsed: Any) -> dict[str, Any]:
    """What was parsed, as keyword arguments."""
    return {name: value for name, value in parsed.as_dict().items() if name != "config"}


def taken(kind: Callable[..., T], parsed: Any) -> T:
    """A dataclass made from the options of its fields; those that were not offered keep their
    defaults.
    """
    import dataclasses

    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: parsed[name] for name in names if name in parsed})


def flat(configuration: Any) -> dict[str, Any]:
    """A dataclass as option -> value, nested ones with dots."""
    import dataclasses

    found: dict[str, Any] = {}
    for field in dataclasses.fields(configuration):
        value = getattr(configuration, field.name)
        if dataclasses.is_dataclass(value):
            found.update({f"{field.name}.{name}": v for name, v in flat(value).items()})
        else:
            found[field.name] = value
    return found


def with_recipe(to: Any, argv: Sequence[str], make: Callable[[str], Any], default: str) -> Any:
    """Parse, with the values of the recipe that --recipe or a YAML file names as defaults of its
    options.
    """
    from argparse import ArgumentParser as First

    first = First(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", default=default)
    name = first.parse_known_args(argv)[0].recipe
    to.set_defaults(flat(make(name)))
    parsed = to.parse_args(argv)
    if parsed.recipe != name:  # the YAML file names it
        to.set_defaults(flat(make(parsed.recipe)))
        parsed = to.parse_args(argv)
    return to.instantiate_classes(parsed)


def _underscored(word: str) -> str:
    """`--size-px` is `--size_px`: options are named after the functions' arguments."""
    option, equals, value = word.partition("=")
    return (
        (option[:2] + option[2:].replace("-", "_") + equals + value)
        if option.startswith("--")
        else word
    )


def main(program: str, about: str, verbs: Mapping[str, Verb], argv: Sequence[str] | None) -> int:
    """Run a verb. Returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [_underscored(word) for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        usage = (
            f"usage: {program} VERB [options]     ({program} VERB --help lists them; --debug "
            "shows tracebacks)"
        )
        print(
            "\n".join(
                [
                    usage,
                    "",
                    about,
                    "",
                    *(f"  {name:<9} {verb.about}" for name, verb in verbs.items()),
                ]
            )
        )
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(version("ubr-pretrain"))
        return 0
    if words[0] not in verbs:
        print(f"{program}: unknown verb {words[0]!r}; allowed: {', '.join(verbs)}", file=sys.stderr)
        return 2
    verb = verbs[words[0]]
    try:
        verb.run(words[1:])
    except KeyboardInterrupt:
        how = "goes on where it was" if verb.resumes else "starts anew"
        print(f"\n{program} {words[0]}: interrupted; the same command {how}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:  # every refusal of this project is a ValueError
        if debug:
            raise
        print(f"{program} {words[0]}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0
