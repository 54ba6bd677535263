"""`ubr-pretrain`: verbs -> functions, nothing else.

A verb's options and help come from its function's signature and docstring. Only the verb that is called is imported, so that the list
of verbs shows at once. Exit status: 0 success, 2 a user's mistake (one line), 1 a fault, 130 interrupted.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

Verb = Callable[[list[str]], None]


def _parser(name: str, description: str) -> Any:
    from jsonargparse import ArgumentParser

    class OneLine(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            options = [option for action in self._actions for option in action.option_strings]
            self.exit(2, f"{self.prog}: {_mistake(message, options)}; {self.prog} --help lists the options\n")

    return OneLine(prog=f"ubr-pretrain {name}", description=description, exit_on_error=True)


def _mistake(message: str, options: Sequence[str]) -> str:
    """The parser's message on one line, in the user's words, with the options that resemble one it does not know."""
    line = " ".join(message.split())
    line = re.sub(r'^Parser key "([^"]+)":', r"--\1:", line)
    union = r"Does not validate against any of the Union subtypes Subtypes: (\[.*?\]) Errors:.*Given value: "
    line = re.sub(union, r"Expected one of \1. Got value: ", line)
    line = re.sub(r"<class '(\w+)'>", r"\1", line).replace("NoneType", "null")
    line = line.replace("a typing.Literal", "one of ").replace("typing.Literal", "")
    unknown = re.search(r"(?:unrecognized arguments: |Option ')(?:--)?([\w.]+)", line)
    near = difflib.get_close_matches(f"--{unknown[1]}", options, n=3) if unknown else []
    return f"{line}; nearest: {', '.join(near)}" if near else line


def _options(parser: Any, function: Callable[..., Any], given: set[str]) -> None:
    parser.add_function_arguments(function, skip={*given, "progress"}, fail_untyped=True)


def _arguments(parsed: Any) -> dict[str, Any]:
    return {name: value for name, value in parsed.as_dict().items() if name != "config"}


def _phantom(argv: list[str]) -> None:
    from .data.phantom_files import phantoms

    parser = _parser("phantom", "Write computed CT series, with known body position, to try things on.")
    _options(parser, phantoms, set())
    print(phantoms(**_arguments(parser.parse_args(argv))))


def _ingest(argv: list[str]) -> None:
    from .data.ingestion import ingest
    from .data.store import Store

    parser = _parser("ingest", "Read CT series of any format and order into a store. Run again, it goes on where it was.")
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="files or folders with DICOM, NIfTI, NRRD, MHA or 16-bit PNG series")
    parser.add_argument("--store", required=True, help="the store's folder; made if it does not exist")
    parser.add_argument("--dry", action="store_true", help="find, but neither read pixels nor write anything")
    _options(parser, ingest, {"sources", "store", "dry"})
    done = ingest(**_arguments(parser.parse_args(argv)))
    print(done.table())
    if not done.would_take and (done.store / "store.json").exists():
        Store.open(done.store).usable()


def _fit(argv: list[str]) -> None:
    from argparse import ArgumentParser as First

    from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]

    from .data.store import Store
    from .recipes import RECIPES, Recipe, recipe
    from .training import fit, is_first_process, plan

    first = First(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", default="quick")
    name = first.parse_known_args(argv)[0].recipe

    parser = _parser("fit", "Train a body-part regressor on a store, without labels. Run again, it goes on where it was.")
    parser.add_argument("store", metavar="STORE", help="made by ingest")
    parser.add_argument("--out", required=True, help="the run's folder")
    parser.add_argument("--recipe", default="quick", help=f"complete configuration that the options below change: {', '.join(RECIPES)}")
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file with any of these options")
    parser.add_argument("--dry", action="store_true", help="say what would be trained on what, and stop")
    parser.add_class_arguments(Recipe, fail_untyped=True)
    _options(parser, fit, {"store", "out", "recipe"})
    parser.set_defaults(_flat(recipe(name)))
    parsed = parser.parse_args(argv)
    if parsed.recipe != name:  # the YAML file names it
        parser.set_defaults(_flat(recipe(parsed.recipe)))
        parsed = parser.parse_args(argv)
    options = parser.instantiate_classes(parsed)
    fields = Recipe.__dataclass_fields__
    chosen = Recipe(**{field: options[field] for field in fields})
    store = Store.open(options.store)
    speaks = is_first_process()
    if speaks:
        print(plan(store, chosen, options.holdout), flush=True)
    if options.dry:
        return
    rest = {key: value for key, value in options.as_dict().items() if key not in {*fields, "store", "recipe", "config", "dry"}}
    run = fit(store, recipe=chosen, **rest)
    if speaks:
        quality = ", ".join(f"{name} {value:.4f}" for name, value in run.metrics.items()) or "nothing was"
        print("\n".join([f"{run.weights} (held out: {quality}); described in {run.folder / 'card.md'}", *run.notes]))


def _flat(recipe: Any) -> dict[str, Any]:
    import dataclasses

    flat: dict[str, Any] = {}
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if dataclasses.is_dataclass(value):
            flat.update({f"{field.name}.{name}": v for name, v in _flat(value).items()})
        else:
            flat[field.name] = value
    return flat


def _score(argv: list[str]) -> None:
    from .scoring import score

    parser = _parser("score", "Give every slice of a store or of scans its score.")
    parser.add_argument("weights", metavar="WEIGHTS", help="weights.safetensors of a run")
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a store, or files and folders with scans")
    parser.add_argument("--out", required=True, help="a new folder for slices.parquet and series.csv")
    _options(parser, score, {"weights", "sources", "out"})
    print(score(**_arguments(parser.parse_args(argv))).table())


def _export(argv: list[str]) -> None:
    from ubr.weights import export, load

    parser = _parser("export", "Write the weights for another library, and prove that they arrive there. Prints how to load them.")
    parser.add_argument("weights", metavar="WEIGHTS", help="weights.safetensors of a run")
    parser.add_argument(
        "--out", required=True, help="torchvision: a .pth file; timm: a folder; detectron2: a .pkl file; onnx: an .onnx file"
    )
    parser.add_argument(
        "--fold", action="store_true", help="put the intensity contract into the first convolution: the trunk then takes HU"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier export wrote there")
    _options(parser, export, {"weights", "path", "fold", "overwrite"})
    options = parser.parse_args(argv)
    print(export(load(options.weights), options.out, to=options.to, fold=options.fold, overwrite=options.overwrite))


def _inspect(argv: list[str]) -> None:
    from ubr.weights import load

    parser = _parser("inspect", "What a weights file is: backbone, input contract, provenance, digest, tensors.")
    parser.add_argument("weights", metavar="WEIGHTS", help="a .safetensors file of this project")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    options = parser.parse_args(argv)
    about = load(options.weights).about()
    print(json.dumps(about, indent=1) if options.json else _shown(about))


def _shown(about: dict[str, Any]) -> str:
    """The tables of `inspect` as text."""
    lines = [f"{name:<12}{about[name]}" for name in ("file", "backbone", "licence", "sha256") if name in about]
    for part in ("inputs", "provenance"):
        lines += [f"{part:<12}{name}: {json.dumps(value)}" for name, value in about[part].items()]
    lines += [f"exports to  {', '.join(about['exports_to'])}", ""]
    width = max(len(t["name"]) for t in about["tensors"])
    lines += [f"{t['name']:<{width}}  {t['kind']:<8} {' x '.join(map(str, t['shape'])) or 'one number'}" for t in about["tensors"]]
    count, numbers = len(about["tensors"]), sum(t["numbers"] for t in about["tensors"])
    return "\n".join([*lines, f"{count} tensors, {numbers:,} numbers"])


def _demo(argv: list[str]) -> None:
    from .demo import demo

    parser = _parser(
        "demo", "The whole road on computed CT: scans, store, training, scores, figure, export. About four minutes on two cores."
    )
    _options(parser, demo, set())
    print(demo(**_arguments(parser.parse_args(argv))))


VERBS: dict[str, tuple[Verb, str]] = {
    "demo": (_demo, "the whole road on computed CT, in minutes"),
    "phantom": (_phantom, "write computed CT series with known body position"),
    "ingest": (_ingest, "read CT series of any format into a store"),
    "fit": (_fit, "train a body-part regressor on a store, without labels"),
    "score": (_score, "give every slice of a store or of scans its score"),
    "export": (_export, "write the weights for torchvision, timm, detectron2 or onnx"),
    "inspect": (_inspect, "say what a weights file is"),
}

USAGE = "\n".join(
    [
        "usage: ubr-pretrain VERB [options]     (ubr-pretrain VERB --help lists them; --debug shows tracebacks)",
        "",
        "Unsupervised body-part regression: pretraining on unlabelled CT.",
        "",
        *(f"  {name:<9} {about}" for name, (_, about) in VERBS.items()),
    ]
)


def _underscored(word: str) -> str:
    """`--size-px` is `--size_px`: options are named after the functions' arguments."""
    option, equals, value = word.partition("=")
    return (option[:2] + option[2:].replace("-", "_") + equals + value) if option.startswith("--") else word


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb. Returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [_underscored(word) for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(version("ubr-pretrain"))
        return 0
    if words[0] not in VERBS:
        print(f"ubr-pretrain: unknown verb {words[0]!r}; allowed: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    try:
        VERBS[words[0]][0](words[1:])
    except KeyboardInterrupt:
        how = "starts anew" if words[0] in ("score", "export", "inspect") else "goes on where it was"
        print(f"\nubr-pretrain {words[0]}: interrupted; the same command {how}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:  # every refusal of this project is a ValueError
        if debug:
            raise
        print(f"ubr-pretrain {words[0]}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":  # how DDP starts its other processes
    sys.exit(main())
