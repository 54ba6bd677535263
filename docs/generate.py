"""Pages of the site that are made when it is built: the reference, and files of the checkout.

MkDocs calls the two `on_` functions. The reference of the command lines is what their parsers say;
that of the Python packages is their public names, signatures and docstrings. README, DECISIONS and
the like have one home, the checkout, and appear on the site with their links adapted.
"""

from __future__ import annotations

import inspect
import io
import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PROGRAMS = {"ubr-pretrain": "ubr.pretrain.cli", "ubr-detect": "ubr.downstream.cli"}
PACKAGES = ("ubr.pretrain", "ubr.weights", "ubr.downstream")
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "DECISIONS.md": "decisions.md",
    "LICENSE": "license.txt",
    "benchmarks/README.md": "benchmarks/programs.md",
    "benchmarks/LOG.md": "benchmarks/log.md",
}
"""Files of the checkout, by their paths there, and where they appear on the site."""
SECTIONS = re.compile(r"^(Args|Returns|Yields|Raises|Attributes):$")
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference and the files of the checkout."""
    root = Path(config.config_file_path).parent
    made = {f"reference/{name}.md": command_line(name) for name in PROGRAMS}
    made |= {f"reference/{name}.md": package(name) for name in PACKAGES}
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    pictures = [path.relative_to(root) for path in root.glob("benchmarks/pictures/*.png")]
    kept = PAGES | {path.as_posix(): path.as_posix() for path in pictures}
    for path, uri in kept.items():
        files.append(File.generated(config, uri, abs_src_path=str(root / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Adapt links that are written for the checkout to where things are on the site."""
    here = page.file.src_uri
    source = {uri: path for path, uri in PAGES.items()}.get(here, f"docs/{here}")

    def adapted(link: re.Match[str]) -> str:
        if "://" in link[0]:
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[0]))
        uri = PAGES.get(path, path.removeprefix("docs/"))
        return posixpath.relpath(uri, posixpath.dirname(here) or ".")

    return LINK.sub(adapted, markdown)


def command_line(program: str) -> str:
    """The page of a program: the help of each of its verbs."""
    os.environ["COLUMNS"] = "96"
    cli = import_module(PROGRAMS[program])
    parts = [f"# {program}", f"```text\n{_printed(cli, '--help')}\n```"]
    for name, verb in cli.VERBS.items():
        about = f"{verb.about[0].upper()}{verb.about[1:]}."
        parts += [f"## {name}", about, f"```text\n{_printed(cli, name, '--help')}\n```"]
    return "\n\n".join(parts) + "\n"


def _printed(cli: Any, *words: str) -> str:
    text = io.StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        cli.main(list(words))
    return text.getvalue().strip()


def package(name: str) -> str:
    """The page of a package: its public names, in the order of the alphabet."""
    module = import_module(name)
    parts = [f"# {name}", _prose(inspect.getdoc(module) or "")]
    for public in sorted(module.__all__, key=str.lower):
        thing = getattr(module, public)
        parts += [f"## {public}", _signature(public, thing), _prose(inspect.getdoc(thing) or "")]
        for member, what in _members(thing):
            title = f"### {public}.{member}"
            body = what.fget if isinstance(what, property) else what
            parts += [title, _signature(member, what), _prose(inspect.getdoc(body) or "")]
    return "\n\n".join(part for part in parts if part) + "\n"


def _members(thing: Any) -> Iterator[tuple[str, Any]]:
    """The documented methods and properties that a class itself defines."""
    for name, raw in vars(thing).items() if inspect.isclass(thing) else ():
        what = raw if isinstance(raw, property) else getattr(thing, name)
        if not name.startswith("_") and what.__doc__:
            if isinstance(what, property) or inspect.isroutine(what):
                yield name, what


def _signature(name: str, thing: Any) -> str:
    """Code of a signature, an argument a line where it is long."""
    if isinstance(thing, property):
        return ""
    parts: list[str] = []
    for option in (signature := inspect.signature(thing)).parameters.values():
        if option.kind is option.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        if option.name != "self":
            parts.append(re.sub(r": (['\"])(.*?)\1(?= =|$)", r": \2", str(option)))
    result = signature.return_annotation
    end = "" if inspect.isclass(thing) or result is signature.empty else f" -> {result}"
    line = f"{name}({', '.join(parts)}){end}"
    if len(line) > 90:
        line = f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){end}"
    return f"```python\n{line}\n```"


def _prose(docstring: str) -> str:
    """A docstring as Markdown: its sections are lists."""
    lines, in_section = [], False
    for line in docstring.splitlines():
        if title := SECTIONS.match(line):
            lines += [f"**{title[1]}**", ""]
            in_section = True
        elif in_section and (entry := re.match(r"    ([\w*, ]+): (.*)", line)):
            lines.append(f"* `{entry[1]}`: {entry[2]}")
        elif in_section and line.startswith("    "):
            lines.append("  " + line.strip())
        else:
            in_section = in_section and not line.strip()
            lines.append(line)
    return "\n".join(lines)
