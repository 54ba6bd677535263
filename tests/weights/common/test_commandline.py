"""What both command lines share: options in groups, one line for a mistake, flags in errors, JSON.

The messages of jsonargparse are rewritten by patterns. These tests read its real messages, so that
a version that words them otherwise fails here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from ubr.weights.common.commandline import Verb, main, show
from ubr.weights.common.helptext import grouped
from ubr.weights.common.messages import with_flags
from ubr.weights.common.options import Options, taken


@dataclass(frozen=True)
class View:
    """What is shown.

    Args:
        size_px: side in pixels.
        window_hu: from and to.
    """

    size_px: int = 64
    window_hu: tuple[float, float] = (-100.0, 200.0)

    def __post_init__(self) -> None:
        if self.size_px < 16:
            raise ValueError(f"size_px must be at least 16, got {self.size_px}")


@dataclass(frozen=True)
class Recipe:
    """What is computed.

    Args:
        steps: how often; not less than `weight_decay`.
        unit: of lengths.
        weight_decay: null is without.
        optimizer: its name.
        drops: when the rate falls.
        flip: exchange left and right.
        view: what is shown.
    """

    steps: int = 5
    unit: Literal["index", "mm"] = "mm"
    weight_decay: float | None = 0.5
    optimizer: Literal["sgd", "adamw"] = "sgd"
    drops: tuple[float, ...] = ()
    flip: bool = True
    view: View = field(default_factory=View)


def train(
    source: str,
    out: Path,
    *,
    devices: int | Literal["auto"] = "auto",
    parent: str | Path | None = None,
) -> None:
    """Train.

    Args:
        source: of the data.
        out: the folder.
        devices: how many.
        parent: of the file.
    """


def offer(options: Options) -> None:
    """The options of a made-up verb."""
    options.description = "Train something."
    options.layout = {"Most used": ("out", "steps"), "View": ("view",), "Machine": ("devices",)}
    options.add_argument("source", metavar="SOURCE", help="of the data")
    options.offer_recipe(("short", "long"), "short")
    options.add_argument("--unreadable", choices=("stop", "skip"), default="stop", help="or else")
    options.add_argument("--dry", action="store_true", help="only look")
    options.add_argument("--ends", nargs=2, metavar="END", help="both")
    options.offer(train, {"source"})
    options.offer(Recipe)


def read(*words: str) -> dict[str, Any]:
    """The words as the made-up verb reads them."""
    options = Options(prog="ubr-x train")
    offer(options)
    return options.read_with_recipe(words, lambda name: Recipe(9 if name == "long" else 5), "short")


def mistake(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The line that answers a mistake, between the program and the hint at the help text."""
    with pytest.raises(SystemExit) as stop:
        read(*words)
    assert stop.value.code == 2
    shown = capsys.readouterr()
    start, end = "ubr-x train: ", "; ubr-x train --help lists the options\n"
    assert not shown.out and shown.err.startswith(start) and shown.err.endswith(end)
    assert shown.err.count("\n") == 1
    return shown.err[len(start) : -len(end)]


GIVEN = ("data", "--out", "run")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--stepz", "3"], "unknown option --stepz; nearest: --steps"),
        (["--stepz=3"], "unknown option --stepz; nearest: --steps"),
        (["--view.sizepx", "3"], "unknown option --view.sizepx; nearest: --view.size-px, --view"),
        (["--qqq"], "unknown option --qqq"),
        (["more"], "unexpected argument 'more'"),
        (["--steps", "many"], "--steps must be a whole number, got many"),
        (["--steps", "1.5"], "--steps must be a whole number, got 1.5"),
        (["--weight-decay", "much"], "--weight-decay must be a number or null, got much"),
        (["--flip", "often"], "--flip must be true or false, got often"),
        (["--devices", "all"], "--devices must be a whole number or auto, got all"),
        (["--drops", "soon"], "--drops must be a list [NUMBER,...], got soon"),
        (["--drops", "[1,soon]"], "--drops must be a list [NUMBER,...], got soon"),
        (["--view.size-px", "big"], "--view.size-px must be a whole number, got big"),
        (["--view.window-hu", "[1]"], "--view.window-hu must be a list [NUMBER,NUMBER], got [1]"),
        (["--unit", "cm"], "--unit must be one of index, mm, got cm"),
        (["--unreadable", "no"], "--unreadable must be one of stop, skip, got 'no'"),
        (["--steps"], "--steps needs a value"),
        (["--ends", "one"], "--ends needs 2 values"),
        (["--dry=3"], "--dry takes no value, got '3'"),
        (["--view.s", "3", "--un", "1"], "ambiguous option: --un could match --unreadable, --unit"),
    ],
)
def test_mistakes__say_what_was_given_and_what_is_allowed(
    words: Sequence[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mistake(capsys, *GIVEN, *words) == line


def test_mistakes__what_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert mistake(capsys) == "missing: SOURCE, --out"
    assert mistake(capsys, "data") == "missing: --out"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("steps: many", "--steps must be a whole number, got many"),
        ("unit: cm", "--unit must be one of index, mm, got cm"),
        ("stepz: 3", "unknown option --stepz; nearest: --steps"),
        ("view:\n  size_px: big", "--view.size-px must be a whole number, got big"),
        ("view:\n  sizepx: 3", "unknown option --view.sizepx; nearest: --view.size-px, --view"),
        ("hello", "--config: not a YAML file with options: hello"),
        ("steps: [1\nunit: {", "--config: not a YAML file with options: while parsing"),
    ],
)
def test_mistakes__in_a_yaml_file(
    text: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(text)
    said = mistake(capsys, *GIVEN, "--config", str(tmp_path / "a.yaml"))
    assert said.startswith(line)
    if "while" not in line:
        assert said == line


IMPORTED = {
    "in place of the options": "view: evil.View",
    "as its class": "view: {class_path: evil.View}",
    "as a dotted name": "view.class_path: evil.View",
    "of a file": "view: evil.yaml",
    "in a run's config.yaml": "recipe: {view: {class_path: evil.View}}",
    "with arguments": "view: {class_path: evil.View, init_args: {size_px: 3}}",
}


@pytest.mark.parametrize("case", IMPORTED)
def test_config__a_module_that_it_names_is_not_imported(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evil.py").write_text("import pathlib; pathlib.Path('executed').touch()")
    (tmp_path / "evil.yaml").write_text("class_path: evil.View")
    (tmp_path / "a.yaml").write_text(IMPORTED[case])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = mistake(capsys, *GIVEN, "--config", "a.yaml")
    assert "view" in said and "\n" not in said
    for words in (("--view", "evil.View"), ("--view=evil.yaml",), ("--view+", "evil.View")):
        mistake(capsys, *GIVEN, *words)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: &a [x]\nb: *a", "--config: not a YAML file with options: *a refers to another value"),
        ("[" * 100_000, "--config: not a YAML file with options: nested too deep"),
        ("view: {window_hu: [1, 1" + "0" * 400 + "]}", "a number has too many digits"),
        ('unit: "\\e[31mred"', "--unit must be one of index, mm, got \ufffd[31mred"),
    ],
)
def test_config__that_is_made_to_harm_is_one_line(
    text: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert mistake(capsys, *GIVEN, "--config", str(tmp_path / "a.yaml")).startswith(line)


def test_config__that_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe")
    assert "a.yaml is not UTF-8 text" in mistake(
        capsys, *GIVEN, "--config", str(tmp_path / "a.yaml")
    )


def test_mistakes__no_yaml_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, *GIVEN, "--config", str(tmp_path / "none.yaml"))
    assert said.startswith("--config: File does not exist") and "none.yaml" in said


def test_options__dashes_underscores_and_earlier_spellings_are_read(tmp_path: Path) -> None:
    for words in (
        ("--view.size-px", "32", "--weight-decay=0.1", "--optimizer", "adamw"),
        ("--view.size_px=32", "--weight_decay", "0.1", "--optimiser=adamw"),
    ):
        found = taken(Recipe, read(*GIVEN, *words))
        assert found == Recipe(5, weight_decay=0.1, optimizer="adamw", view=View(32))
    for text in (
        "weight-decay: 0.1\noptimiser: adamw\nview:\n  size-px: 32\n",
        "{weight_decay: 0.1, optimizer: adamw, view: {size-px: 32}}\n",
    ):
        (tmp_path / "a.yaml").write_text(text)
        given = read(*GIVEN, "--config", str(tmp_path / "a.yaml"))
        assert taken(Recipe, given) == Recipe(5, "mm", 0.1, "adamw", view=View(32))


def test_options__a_runs_own_config_gives_its_recipe(tmp_path: Path) -> None:
    recipe = {
        "steps": 7,
        "unit": "index",
        "optimiser": "adamw",
        "drops": [0.5],
        "view": {"size_px": 32},
    }
    for more in ({}, {"data": {"train": ["a"]}}, {"start": {"backbone": "x"}, "data": {}}):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"recipe": recipe, **more}))
        words = ("--config", str(tmp_path / "config.yaml"))
        expected = Recipe(7, "index", optimizer="adamw", drops=(0.5,), view=View(32))
        assert taken(Recipe, read(*GIVEN, *words)) == expected
        assert taken(Recipe, read(*GIVEN, *words, "--steps", "8")).steps == 8


def test_options__a_value_with_dashes_is_left_alone() -> None:
    given = read("my-data", "--out=a-b/c_d", "--recipe", "long")
    assert given["source"] == "my-data" and given["out"] == Path("a-b/c_d")
    assert given["steps"] == 9


def help_text(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What --help prints where the terminal is wide."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setenv("COLUMNS", "100")
        read(*words, "--help")
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help__is_in_groups_with_type_meaning_and_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = help_text(capsys)
    usage, about, source, most, view, machine, other = shown.rstrip().split("\n\n")
    assert usage == "usage: ubr-x train SOURCE --out PATH [options]"
    assert about == "Train something." and source.split() == ["SOURCE", "of", "the", "data"]
    assert most.splitlines()[0] == "Most used:"
    assert [line.split()[:2] for line in most.splitlines()[1:]] == [
        ["--out", "PATH"],
        ["--steps", "INT"],
    ]
    assert "the folder (required)" in most
    assert "how often; not less than --weight-decay (default: 5)" in most
    assert view.startswith("View:\n  --view FILE")
    assert "from and to (default: [-100,200])" in view
    assert "--devices INT|auto" in machine and "(default: auto)" in machine
    assert "-h, --help" in other and "--unit index|mm" in other and "--flip true|false" in other
    assert (
        "--parent PATH" in other
        and "--weight-decay NUMBER|null" in other
        and "--ends END END" in other
    )
    assert "_" not in shown and max(map(len, shown.splitlines())) <= 100
    assert "(default: 9)" in help_text(capsys, "--recipe", "long")


def test_groups__follow_the_layout_and_lose_nothing() -> None:
    layout = {"A": ("b", "view"), "None": ("absent",)}
    assert grouped(["a", "view", "view.x", "b"], layout) == {
        "A": ["b", "view", "view.x"],
        "Other": ["a"],
    }
    assert grouped(["a", "b"], {}) == {"Options": ["a", "b"]}


FLAGS = {
    name: f"--{name.replace('_', '-')}"
    for name in (
        *("out", "start", "source", "m", "workers", "place", "json", "validate_every"),
        *("inputs.size_px", "inputs.mm_per_px", "view.mm_per_px", "seed", "augment.seed"),
    )
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("validate_every must be at least 1, got 0", "--validate-every must be at least 1, got 0"),
        ("m must be in 2..256, got 1", "--m must be in 2..256, got 1"),
        ("m and workers must be at least 1", "--m and --workers must be at least 1"),
        ("place 'gpu' needs a GPU", "--place 'gpu' needs a GPU"),
        ("inputs.size_px must be in 16..32", "--inputs.size-px must be in 16..32"),
        ("size_px must be in 16..32, got 3", "--inputs.size-px must be in 16..32, got 3"),
        ("seed must be in 0..9, got -1", "--seed must be in 0..9, got -1"),
        ("x exists; give a new `out`", "x exists; give a new --out"),
        ("fewer than m=6 slices", "fewer than --m 6 slices"),
        ("lower validate_every.", "lower --validate-every."),
        ("no paths; score again `with_paths`", "no paths; score again --with-paths"),  # another's
        # what is not the name of an option, or could be a word
        ("mm_per_px must be above 0", "mm_per_px must be above 0"),
        ("unknown start 'a.pth'", "unknown start 'a.pth'"),
        ("the source is out of range; start over", "the source is out of range; start over"),
        ("source of all trouble", "source of all trouble"),
        ("out/validate_every/x.json is no file", "out/validate_every/x.json is no file"),
        ("got 'validate_every'", "got 'validate_every'"),
        ("validate_every.yaml is no file", "validate_every.yaml is no file"),
        ("read store.json", "read store.json"),
        ("already --validate-every", "already --validate-every"),
    ],
)
def test_flags__stand_for_names_that_cannot_be_words(text: str, shown: str) -> None:
    assert with_flags(text, FLAGS) == shown
    assert with_flags(text, {}) == text


def verb(error: BaseException | None = None, resumes: bool = False) -> dict[str, Verb]:
    """A verb that fails, or prints what it was given."""

    def run(options: Options, words: Sequence[str]) -> None:
        offer(options)
        given = options.read(words)
        if error is not None:
            raise error
        show(str(given["out"]))

    return {"train": Verb(run, "train something", "First steps", resumes)}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("weight_decay must be\n  above 0"), "--weight-decay must be above 0"),
        (FileNotFoundError(2, "No such file", "x"), "[Errno 2] No such file: 'x'"),
    ],
)
def test_main__a_refusal_is_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", *GIVEN]
    assert main("ubr-x", "About.", verb(error), words) == 2
    assert capsys.readouterr().err == f"ubr-x train: {line}\n"
    with pytest.raises(type(error)):
        main("ubr-x", "About.", verb(error), [*words, "--debug"])


def test_main__a_fault_is_not_a_refusal() -> None:
    with pytest.raises(KeyError):
        main("ubr-x", "About.", verb(KeyError("x")), ["train", *GIVEN])


@pytest.mark.parametrize(
    ("resumes", "how"),
    [
        (True, "repeat the command to resume it"),
        (False, "repeat the command to start over"),
    ],
)
def test_main__an_interruption_says_how_to_go_on(
    resumes: bool, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("ubr-x", "About.", verb(KeyboardInterrupt(), resumes), ["train", *GIVEN]) == 130
    assert capsys.readouterr().err == f"\nubr-x train: interrupted; {how}\n"


def test_main__an_interruption_that_knows_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for resumes in (True, False):
        error = KeyboardInterrupt("step 5 is saved; repeat the command to resume from it")
        assert main("ubr-x", "About.", verb(error, resumes), ["train", *GIVEN]) == 130
        assert capsys.readouterr().err == f"\nubr-x train: interrupted; {error}\n"


def test_main__lists_verbs_and_knows_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("ubr-x", "About.", verb(), []) == 0
    assert "First steps:\n  train  train something\n" in capsys.readouterr().out
    assert main("ubr-x", "About.", verb(), ["trian"]) == 2
    err = capsys.readouterr().err
    assert err == "ubr-x: unknown verb 'trian'; allowed: train; nearest: train\n"


def test_show__json_is_plain_and_finite(capsys: pytest.CaptureFixture[str]) -> None:
    show({"a": (1, float("nan")), "b": {"c": float("inf"), "d": None, "e": "x"}})
    found = json.loads(capsys.readouterr().out)
    assert found == {"a": [1, None], "b": {"c": None, "d": None, "e": "x"}}
    show("text")
    assert capsys.readouterr().out == "text\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a\x1b[2Jb\u202ec\nd"), "p v: a\ufffd[2Jb\ufffdc d"),
        (OSError(28, "No space left on device", "x"), "p v: the disk is full (No space left on "),
    ],
)
def test_words_of_a_file__do_not_reach_the_terminal_as_they_are(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(options: Options, words: Sequence[str]) -> None:
        show("fine \x1b]0;title\x07\n\tnext")
        raise error

    assert main("p", "", {"v": Verb(run, "")}, ["v"]) == 2
    told = capsys.readouterr()
    assert told.out == "fine \ufffd]0;title\ufffd\n\tnext\n"
    assert told.err.startswith(line) and told.err.count("\n") == 1


def test_words_of_a_file__of_any_length_leave_the_end_of_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(options: Options, words: Sequence[str]) -> None:
        raise ValueError(f"{'x' * 100_000} is no name; give another")

    main("p", "", {"v": Verb(run, "")}, ["v"])
    told = capsys.readouterr().err
    assert len(told) < 2100 and told.startswith("p v: xxx") and told.endswith("; give another\n")


def test_main__a_reader_that_has_read_enough_is_no_fault() -> None:
    """As `ubr-pretrain fit --help | head` does."""
    code = "import sys; from ubr.pretrain.cli import main; sys.exit(main(['fit', '--help']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None and run.stderr is not None
        run.stdout.close()
        assert run.stderr.read() == ""
    assert run.returncode == 0
