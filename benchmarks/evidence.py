"""All tables and figures from the committed rows: one page, evidence.html, and a PNG per figure.

    python -m benchmarks.evidence [--out build/evidence] \\
        [--only fig3a --data ct --recipe small]

Nothing is measured here. What has no rows is named with the command that makes them. --data and
--recipe choose rows by their columns.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.commandline import new_parser
from benchmarks.common.comparison import as_text, differences, experiments, moments, null_check
from benchmarks.common.figures import FIGURES
from benchmarks.common.recipe_names import name_on_command_line
from benchmarks.common.rows import read
from benchmarks.common.tables import ABLATION_HEAD, TABLE1_HEAD, Rows, ablation, table1
from ubr.weights.common import disk

ON_STARTS = "python -m benchmarks.starts --data SCANS --work WORK --ubr WEIGHTS"
COMMANDS = {
    "table1": "python -m benchmarks.table1 --work WORK --seeds 0 1 2",
    "histogram": "python -m benchmarks.table1 --work WORK",
    "sampling": "python -m benchmarks.sampling --work WORK --seeds 0 1 2",
    "ablation": "python -m benchmarks.ablation --work WORK --seeds 0 1 2",
    "curves": "python -m benchmarks.curves --work WORK",
    "starts": ON_STARTS,
    "starts_curve": ON_STARTS,
}
TITLES = {
    "table1": "Table 1. Body parts told from slices",
    "fig2": "Fig. 2. Slices of different bodies at equal scores",
    "fig3a": "Fig. 3a. Scores of the slices of each part",
    "fig3b": "Fig. 3b. Accuracy against slices a volume, g x m constant",
    "fig3c": "Fig. 3c. Four starts of a lesion detector",
    "fig4": "Fig. 4. Sound curves, and an abnormal one with its slice",
    "ablation": "What each option contributes",
}
TABLES = {"table1": (TABLE1_HEAD, table1), "ablation": (ABLATION_HEAD, ablation)}
USUAL = ("phantom", "small")
"""Data and recipe that most rows have; names of pictures leave them out."""
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 "
    "1rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2rem .7rem;text-align:left;border-bottom:1px "
    "solid #ddd}"
    "img{max-width:100%}pre{overflow-x:auto;background:#f5f5f5;padding:.7rem}small{color:#666}"
)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the page, or one figure."""
    parser = new_parser(__doc__)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/evidence"),
        help="folder for the page and the figures",
    )
    parser.add_argument("--only", choices=sorted(TITLES), help="one table or figure")
    parser.add_argument(
        "--data",
        help="of the rows: phantom, or the name of a folder (default: all, each by itself)",
    )
    parser.add_argument("--recipe", help="of the rows (default: all, each by itself)")
    options = parser.parse_args(argv)
    parts = []
    for name in [options.only] if options.only else TITLES:
        parts.append(f"<h2>{html.escape(TITLES[name])}</h2>")
        for data, recipe in kinds(name, options.data, options.recipe):
            parts.append(f"<h3>{html.escape(data)}, recipe {html.escape(recipe)}</h3>")
            try:
                parts.append(section(name, data, recipe, options.out))
            except ValueError as error:
                if options.only:
                    raise SystemExit(str(error)) from None
                parts.append(f"<p>{html.escape(str(error))}</p>")
    page = options.out / "evidence.html"
    head = (
        '<!doctype html><html lang="en"><meta '
        f'charset="utf-8"><title>Evidence</title><style>{STYLE}</style>'
    )
    about = (
        "<h1>Evidence</h1><p>Drawn from the rows in benchmarks/results, each data and recipe "
        "by itself.</p>"
    )
    disk.write_text(page, "\n".join([head, about, *parts, "</html>"]))
    print(page)


def kinds(name: str, data: str | None, recipe: str | None) -> list[tuple[str, str]]:
    """The data and recipes that a table or figure has rows of, among those that are asked for.

    If it has none, these are the ones that could be made.
    """
    found = dict.fromkeys((row["data"], row["recipe"]) for row in read(source_of(name)))
    asked = [(d, r) for d, r in found if data in (None, d) and recipe in (None, r)]
    return asked or [(data or USUAL[0], recipe or USUAL[1])]


def source_of(name: str) -> str:
    """The NAME in results/NAME.csv of a table or figure."""
    return FIGURES[name][0] if name in FIGURES else name


def section(name: str, data: str, recipe: str, out: Path) -> str:
    """A table or figure as HTML.

    A figure is also written to out/NAME-DATA-RECIPE.png, without the usual data and recipe.

    Raises:
        ValueError: there are no rows.
    """
    rows = rows_of(source_of(name), data, recipe)
    if name in TABLES:
        head, lines = TABLES[name]
        return _table(head, lines(rows)) + _made(rows)
    picture = io.BytesIO()
    FIGURES[name][1](rows).savefig(picture, format="png", dpi=130)
    apart = [what for what, usual in zip((data, recipe), USUAL, strict=True) if what != usual]
    file = re.sub("[^A-Za-z0-9.-]+", "-", "-".join([name, *apart]))
    disk.write_bytes(out / f"{file}.png", picture.getvalue())
    text = html.escape(f"{TITLES[name]}: {data}, recipe {recipe}")
    encoded = base64.b64encode(picture.getvalue()).decode()
    shown = f'<img alt="{text}" src="data:image/png;base64,{encoded}">'
    compared = _compared(rows_of("starts", data, recipe)) if name == "fig3c" else ""
    return shown + compared + _made(rows)


def rows_of(name: str, data: str, recipe: str) -> Rows:
    """Rows of results/NAME.csv.

    Raises:
        ValueError: there are none.
    """
    rows = [row for row in read(name) if (row["recipe"], row["data"]) == (recipe, data)]
    if not rows:
        command = COMMANDS[name]
        scans = "" if data == "phantom" or "--data" in command else " --data FOLDER"
        asked = recipe if command == ON_STARTS else name_on_command_line(recipe)
        raise ValueError(
            f"no rows of {data} with recipe {recipe} in results/{name}.csv; make them with: "
            f"{command}{scans} --recipe {asked}"
        )
    return rows


def _compared(starts: Rows) -> str:
    shown = ""
    for name, of_experiment in experiments(starts).items():
        for when, rows in moments(of_experiment).items():
            text = as_text(differences(rows))
            different, tried = null_check(rows)
            if tried:
                text += (
                    "\nnull check: starts with names exchanged in some seeds are called "
                    f"different (5 %) in {different} of {tried} ways"
                )
            title = html.escape(f"Lesions in {name}, after {when}")
            shown += f"<h4>{title}</h4><pre>{html.escape(text)}</pre>"
    return shown


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    cells = [
        "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line)
        for tag, line in [("th", head), *(("td", x) for x in lines)]
    ]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in cells) + "</table>"


def _made(rows: Rows) -> str:
    """Where the rows come from."""
    machines = sorted({f"{row['machine']}, {row['date']}, commit {row['commit']}" for row in rows})
    return f"<p><small>{len(rows)} rows; {html.escape('; '.join(machines))}</small></p>"


if __name__ == "__main__":
    main()
