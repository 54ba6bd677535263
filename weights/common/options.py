"""The options of a verb: offered from functions and dataclasses, read from words and YAML files.

Options are named after parameters. On the command line they are written with dashes; underscores
are accepted, and YAML files may hold either.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from typing import Any, NoReturn, TypeVar, get_type_hints

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser  # type: ignore[attr-defined]

from . import doors, helptext, messages
from .execution import DEVICES, check_device

T = TypeVar("T")

OLD_SPELLINGS = {"licence": "license", "optimiser": "optimizer", "accelerator": "device"}
"""Names of options in earlier versions, accepted without a word."""


def _given_in(words: Sequence[str], option: str) -> str | None:
    """The text of one option, before the others are read; None if it is not among the words."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument(option, dest="found")
    found: str | None = first.parse_known_args(words)[0].found
    return found


class Options(ArgumentParser):
    """The options of one verb.

    layout: heading -> the options below it, in the order of the help text; `inputs` stands for all
    of `inputs.*`. Without a layout there is one list. called: parameter -> option, where a
    parameter is not the option's name. required: options without which nothing is read.
    """

    layout: Mapping[str, Sequence[str]] = {}
    called: Mapping[str, str] = {}
    required: Collection[str] = ()

    def offer(
        self, source: Callable[..., Any], without: Collection[str] = (), under: str | None = None
    ) -> None:
        """Offer the parameters of a function or dataclass; `device` in the same words for all.

        Args:
            source: with annotations, and help in its docstring.
            without: parameters that are given otherwise; `progress` always is.
            under: for a dataclass, the prefix of its options: `inputs` for `--inputs.size-px`.
        """
        skip: set[Any] = {*without, "progress"}
        if "device" in {*inspect.signature(source).parameters} - skip:
            self.add_argument("--device", default="auto", metavar=DEVICES, help=DEVICE)
            skip.add("device")
        if isinstance(source, type):
            _give_types(source)
            skip &= set(inspect.signature(source).parameters)
            self.add_class_arguments(source, under, skip=skip, fail_untyped=True)
        else:
            self.add_function_arguments(_typed(source, skip), fail_untyped=True)

    def offer_json(self, of: str) -> None:
        """Offer --json."""
        self.add_argument(
            "--json",
            action="store_true",
            help=f"print only {of}, as JSON, on standard output",
        )

    def offer_recipe(self, names: Collection[str], default: str) -> None:
        """Offer --recipe and --config."""
        self.add_argument(
            "--recipe",
            type=str,
            default=default,
            metavar="NAME",
            help=f"complete configuration, which other options override: {', '.join(names)}",
        )
        self.add_argument("--config", action=ActionConfigFile, metavar="FILE", help=CONFIG)

    def read(self, words: Sequence[str]) -> dict[str, Any]:
        """Parameter -> value."""
        return _values(self.parse_args(self._spelled(words)))

    def read_with_recipe(
        self,
        words: Sequence[str],
        make: Callable[[str], Any],
        default: str,
        adapt: Callable[[Any, Any], Any] = lambda recipe, given: recipe,
    ) -> dict[str, Any]:
        """Parameter -> value. A recipe, named by --recipe or a YAML file, gives the defaults.

        adapt: changes that recipe to suit the values given, before it gives the defaults.
        """
        words = self._spelled(words)
        looking = [word for word in words if not word.startswith("--print_config")]
        named = _given_in(words, "--recipe") or default  # --help, which ends here, shows its values
        self.set_defaults(flat(make(named)))
        self.set_defaults(flat(make(self.parse_args(looking).recipe)))  # a YAML file may name it
        given = self.parse_args(looking)
        self.set_defaults(flat(adapt(make(given.recipe), given)))
        return _values(self.instantiate_classes(self.parse_args(words)))

    def flags(self) -> dict[str, str]:
        """Parameter -> flag, as `inputs.size_px` -> `--inputs.size-px`."""
        offered = {
            action.dest: helptext.flag(action.dest)
            for action in self._actions
            if action.option_strings
        }
        return {**offered, **{name: helptext.flag(option) for name, option in self.called.items()}}

    def format_help(self, *_: Any) -> str:
        """The help text, in groups."""
        about = self.description or ""
        return helptext.help_text(self.prog, about, self._actions, self.layout, self.required)

    def parse_string(self, content: str, *more: Any, **options: Any) -> Any:
        """Read YAML whose keys may hold dashes or be spelled as earlier; of a run's config.yaml,
        the recipe.
        """
        try:
            read = doors.from_yaml(content)
        except ValueError as error:
            self.error(f"--config: not a YAML file with options: {error}")
        if isinstance(read, dict) and isinstance(read.get("recipe"), dict):
            read = read["recipe"]
            content = yaml.safe_dump(read, sort_keys=False)
        self._check_names(read)
        key = r"(?m)(^\s*|[{,]\s*)([A-Za-z][\w.-]*)(?=\s*:(?:\s|$))"
        content = re.sub(key, lambda found: found[1] + self._own(found[2]), content)
        return super().parse_string(content, *more, **options)

    def parse_path(self, path: Any, *more: Any, **options: Any) -> Any:
        """Read a YAML file."""
        try:
            return super().parse_path(path, *more, **options)
        except UnicodeDecodeError:
            self.error(f"{path} is not UTF-8 text")

    def parse_args(self, *words: Any, **options: Any) -> Any:
        """Read words."""
        try:
            return super().parse_args(*words, **options)
        except OverflowError:
            self.error("a number has too many digits")

    def _check_names(self, read: Any, before: str = "") -> None:
        """Refuse what is no option before jsonargparse sees it. Given a class's name in place of
        the options of a dataclass, it would import the module, which executes it.
        """
        names = {action.dest for action in self._actions}
        for key, value in read.items() if isinstance(read, dict) else ():
            name = before + self._own(str(key))
            if any(one.startswith(f"{name}.") for one in names):
                if not isinstance(value, dict):
                    self.error(f"{name} must be a table of its options, got {value!r:.60}")
                self._check_names(value, f"{name}.")
            elif name not in names:
                self.error(f"Option {name!r} is not accepted")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Answer a mistake with one line and exit status 2."""
        if not self.exit_on_error:
            super().error(message, ex)
        metavars = {action.dest: str(action.metavar) for action in self._actions if action.metavar}
        line = messages.refusal(message, {**metavars, **self.flags()}, self._expected)
        line = messages.one_line(f"{self.prog}: {line}; {self.prog} --help lists the options")
        self.exit(2, f"{line}\n")

    def _expected(self, name: str) -> str:
        return next(helptext.expected(action) for action in self._actions if action.dest == name)

    def _spelled(self, words: Sequence[str]) -> list[str]:
        """The words, with options as they are offered."""
        self.required = {a.dest for a in self._actions if a.required}  # not known while it parses
        end = words.index("--") if "--" in words else len(words)
        return [*map(self._spelled_word, words[:end]), *words[end:]]

    def _spelled_word(self, word: str) -> str:
        if not word.startswith("--"):
            return word
        option, equals, value = word[2:].partition("=")
        if any(action.dest.startswith(f"{option}.") for action in self._actions):
            self.error(f"--{option} takes no value; give its options, as --{option}.NAME")
        return f"--{self._own(option)}{equals}{value}"

    def _own(self, name: str) -> str:
        name = name.replace("-", "_")
        known = any(action.dest == name for action in self._actions)
        return name if known else OLD_SPELLINGS.get(name, name)


CONFIG = (
    "YAML file with any of these options, or a run's config.yaml, whose recipe is used; "
    "later options override it"
)
DEVICE = (
    "where the network runs: auto (a CUDA or ROCm GPU if there is one, else the CPU), cpu, "
    "cuda, cuda:N (one of several GPUs, from 0), or mps (an Apple GPU)"
)
ASSUME_SCALE = (
    "assume that a --start file that does not state its input scale was trained on that of --inputs"
)


# Where annotations are texts, jsonargparse runs a module's imports for type checkers to understand
# them. These load torch, which takes seconds. So it is given types.


def _give_types(kind: type) -> None:
    """Make types of the texts that annotate a dataclass, and the dataclasses in it."""
    hints = get_type_hints(kind)
    kind.__init__.__annotations__.update(hints)  # type: ignore[misc]
    for hint in hints.values():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            _give_types(hint)


def _typed(source: Callable[..., Any], without: Collection[str]) -> Callable[..., Any]:
    """A function that has the offered parameters alone, annotated with types."""
    signature = inspect.signature(source)
    offered = {name: one for name, one in signature.parameters.items() if name not in without}

    @wraps(source)
    def function() -> None: ...

    function.__annotations__ = {name: one.annotation for name, one in offered.items()}
    hints = get_type_hints(function, vars(sys.modules[source.__module__]))
    typed = [one.replace(annotation=hints[name]) for name, one in offered.items()]
    function.__signature__ = inspect.Signature(typed)  # type: ignore[attr-defined]
    return function


def flat(configuration: Any) -> dict[str, Any]:
    """A dataclass as option -> value, nested ones with dots."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(configuration):
        value = getattr(configuration, field.name)
        if dataclasses.is_dataclass(value):
            found.update({f"{field.name}.{name}": v for name, v in flat(value).items()})
        else:
            found[field.name] = value
    return found


def taken(kind: Callable[..., T], given: Mapping[str, Any]) -> T:
    """A dataclass of the values of its options; fields that were not offered keep defaults."""
    names = inspect.signature(kind).parameters
    return kind(**{name: given[name] for name in names if name in given})


def _values(parsed: Any) -> dict[str, Any]:
    values = {name: value for name, value in parsed.as_dict().items() if name != "config"}
    check_device(values.get("device", "auto"))
    return values
