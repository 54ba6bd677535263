"""The documentation: what it names exists, and a dead link fails its build."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.made.networks import weights_of

ROOT = Path(__file__).parents[1]
CLI = {"ubr-pretrain": "ubr.pretrain.cli", "ubr-detect": "ubr.downstream.cli"}
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("docs/**/*.md"))
)
SITE = ("docs", "benchmarks/pictures", *PAGES, "mkdocs.yml", "LICENSE")


def prose(text: str) -> list[str]:
    """The lines of a page outside code blocks and tables, and without links."""
    lines, in_code = [], False
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        in_code ^= fence
        if not (in_code or fence or line.startswith("|")):
            lines.append(re.sub(r"\]\([^)]*\)", "]()", line))
    return lines


def commands(text: str) -> list[list[str]]:
    """The commands of a page's shell blocks, as words."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines]


def unknown(words: list[str]) -> list[str]:
    """What of a command is no verb or option of this project, or no target of the Makefile."""
    if words[:1] == ["make"]:
        makefile = (ROOT / "Makefile").read_text()
        return [word for word in words[1:] if not re.search(rf"^{word}:", makefile, re.M)]
    while words and words[0] not in CLI:  # srun, an assignment
        words = words[1:]
    if not words:
        return []
    program, verb, *rest = words
    if verb not in import_module(CLI[program]).VERBS:
        return [verb]
    given = {word.partition("=")[0] for word in rest if word.startswith("--")}
    return sorted(option for option in given if dashed(option) not in options(program, verb))


def dashed(option: str) -> str:
    return option.replace("_", "-")


@cache
def options(program: str, verb: str) -> frozenset[str]:
    """The options in a verb's help, spelled with dashes."""
    shown = io.StringIO()
    with redirect_stdout(shown), suppress(SystemExit):
        import_module(CLI[program]).main([verb, "--help"])
    return frozenset(dashed(option) for option in re.findall(r"--[\w.-]+", shown.getvalue()))


@pytest.mark.parametrize("page", PAGES)
def test_page__is_at_most_100_columns_wide(page: str) -> None:
    assert not [line for line in prose((ROOT / page).read_text()) if len(line) > 100]


@pytest.mark.parametrize("page", PAGES)
def test_page__names_files_that_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:pretrain|weights|downstream|benchmarks|tests|docs)/[\w./-]*)`", text)
    wanted = set(named) - {"pretrain/model.py"}  # a record of what it was called
    assert not [name for name in sorted(wanted) if not (ROOT / name).exists()]
    assert "../shared" not in text and "/work/" not in text


def test_readme__is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_decisions__are_short_and_numbered() -> None:
    records = re.split(r"^## ", (ROOT / "DECISIONS.md").read_text(), flags=re.M)[1:]
    heads = [re.match(r"(\d+)\. .+ \(\d{4}-\d\d-\d\d\)\n", record) for record in records]
    assert [head and int(head[1]) for head in heads] == list(range(1, len(records) + 1))
    assert max(len(record.strip().splitlines()) - 1 for record in records) <= 10


def test_version__is_the_same_everywhere() -> None:
    """In both distributions, the citation, the page on the scorer, and the newest release."""
    newest = re.search(
        r"^## \[(\d[^]]*)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    assert newest
    version, date = newest.groups()
    for setup in ("setup.py", "scorer/setup.py"):
        assert f'version="{version}",' in (ROOT / setup).read_text(), setup
    cited = f'\nversion: {version}\ndate-released: "{date}"\n'
    assert cited in (ROOT / "CITATION.cff").read_text()
    wheels = re.findall(r"ubr_score-([\d.]+)-", (ROOT / "docs/how-to/scorer.md").read_text())
    assert set(wheels) == {version}


@pytest.mark.heavy
@pytest.mark.parametrize("page", [page for page in PAGES if "bash" in (ROOT / page).read_text()])
def test_commands__exist(page: str) -> None:
    given = commands((ROOT / page).read_text())
    assert given and not [(words, wrong) for words in given if (wrong := unknown(words))]


@pytest.mark.heavy
def test_commands__the_check_can_fail() -> None:
    assert unknown(["ubr-pretrain", "fti", "store"]) == ["fti"]
    assert unknown(["ubr-pretrain", "ingest", "--stoer", "a", "--dry"]) == ["--stoer"]
    assert unknown(["make", "dcos"]) == ["dcos"]


def test_export_page__makes_the_input_of_a_trunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block runs as it stands, with weights where it expects them."""
    monkeypatch.chdir(tmp_path)
    weights_of("timm/test_resnet").save(tmp_path / "runs/first/weights.safetensors")
    page = (ROOT / "docs/how-to/export.md").read_text()
    block = next(b for b in re.findall(r"```python\n(.*?)```", page, re.S) if "to_grid" in b)
    hu = np.full((3, 64, 64), -1000, np.int16)
    hu[:, 16:48, 16:48] = 40
    given: dict[str, Any] = {"hu": hu, "spacing_mm": (3.0, 5.0, 5.0)}
    exec(block, given)
    assert given["features"].shape[:2] == (3, given["trunk"].channels)


@pytest.mark.parametrize("page", PAGES)
def test_python__is_python_and_takes_names_that_are_public(page: str) -> None:
    for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S):
        compile(block, page, "exec")
        for package, name in re.findall(r"\b(pretrain|weights|downstream)\.(\w+)\(", block):
            assert name in import_module(f"ubr.{package}").__all__


def build(tmp_path: Path, added: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What `make docs` runs, on a copy to some of whose pages a line is added."""
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    for name in SITE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        if not (tmp_path / name).exists():
            copy(ROOT / name, tmp_path / name)
    for page, line in added.items():
        with (tmp_path / page).open("a") as file:
            file.write(f"\n{line}\n")
    recipe = re.search(r"^docs:.*\n\t\$\(BIN\)/(.*)\n", (ROOT / "Makefile").read_text(), re.M)
    assert recipe
    command = [sys.executable, "-m", *shlex.split(recipe[1])]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)


@pytest.mark.heavy
def test_build__is_whole_and_needs_no_other_machine(tmp_path: Path) -> None:
    done = build(tmp_path, {})
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    site = tmp_path / "build" / "site"
    for html in site.rglob("*.html"):
        assert not re.findall(r'<(?:script|link|img)[^>]*"(?:https?:)?//[^>]*', html.read_text())
    reference = (site / "reference" / "ubr-pretrain.html").read_text()
    assert all(f'id="{verb}"' in reference for verb in ("ingest", "fit", "score"))
    api = (site / "reference" / "ubr.weights.html").read_text()
    assert all(f'id="{name}"' in api for name in ("load_into", "weightsbuild", "inputspec"))


@pytest.mark.heavy
def test_build__fails_on_every_dead_link(tmp_path: Path) -> None:
    """Each is a warning of its own, and a build without any has none."""
    dead = {
        "docs/how-to/ingest.md": "[gone](page.md)",
        "docs/how-to/train.md": "[gone](ingest.md#anchor)",
        "README.md": "[gone](docs/root.md)",
        "CHANGELOG.md": "[gone](docs/nowhere.md)",
        "benchmarks/README.md": "![gone](pictures/picture.png)",
    }
    done = build(tmp_path, dead)
    assert done.returncode != 0
    warned = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    for name in ("page.md", "#anchor", "root.md", "nowhere.md", "picture.png"):
        assert sum(name in line for line in warned) == 1, done.stderr
    assert f"Aborted with {len(dead)} warnings in strict mode" in done.stdout, done.stdout
