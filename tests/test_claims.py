"""Every verb of both command lines claims what it writes: a second one is refused in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.made.lesions import lesion_world
from tests.made.toys import toy_store
from ubr.downstream import cli as detect
from ubr.pretrain import cli as pretrain
from ubr.weights.common.claims import claim, claim_folder

FILLED = {
    "annotate",
    "audit",
    "demo",
    "fetch",
    "fit",
    "ingest",
    "phantom",
    "plant",
    "predict",
    "score",
    "train",
    "watch",
}
"""Verbs that fill a folder step by step; those of the others appear whole."""
WORDS = {
    "annotate": "{any} --weights {any} --regions {any} --out {out}",
    "audit": "{any} --weights {any} --out {out}",
    "calibrate": "{any} {any} --out {out}",
    "check": "{lesions} --manifest {out}",
    "crop": "{any} --weights {any} --from 1 --to 2 --out {out}",
    "demo": "--out {out}",
    "evaluate": "{any} {lesions} --out {out}",
    "export": "{weights} --out {out}",
    "fetch": "{any} --out {out}",
    "fit": "{store} --out {out} --backbone timm/test_resnet --inputs.size-px 32 --accelerator cpu",
    "ingest": "{any} --store {out}",
    "level": "{any} --series a --index 0 --out {out}",
    "montage": "{store} --out {out}",
    "phantom": "--out {out}",
    "plant": "{store} --out {out}",
    "predict": "{any} {any} --out {out}",
    "report": "{any} --out {out}",
    "score": "{any} {any} --out {out}",
    "select": "{any} --want chest --out {out}",
    "train": "{lesions} --out {out} --backbone timm/test_resnet --accelerator cpu",
    "watch": "{any} --out {out}",
}
CLIS = (pretrain, detect)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the verbs read before they claim; {any} need not be there, as a claim comes first."""
    from ubr.weights import InputSpec, Weights, build

    root = tmp_path_factory.mktemp("given")
    toy_store(root / "store")
    trunk = build("timm/test_resnet").body.state_dict()
    Weights("timm/test_resnet", InputSpec(size_px=32), trunk).save(root / "w.safetensors")
    return {
        "any": root / "absent",
        "store": root / "store",
        "weights": root / "w.safetensors",
        "lesions": lesion_world(root / "lesions"),
    }


def test_words__are_of_every_verb_that_writes(capsys: pytest.CaptureFixture[str]) -> None:
    writing = set()
    for cli in CLIS:
        for verb in cli.VERBS:
            with pytest.raises(SystemExit):
                cli.main([verb, "--help"])
            if re.search(r"^  --(out|store|manifest)\b", capsys.readouterr().out, re.M):
                writing.add(verb)
    assert writing == WORDS.keys()


@pytest.mark.parametrize("verb", WORDS)
def test_verbs__a_second_one_is_refused_in_one_line_and_writes_nothing(
    verb: str, given: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / ("out.pth" if verb == "export" else "out.csv" if verb == "level" else "out")
    take: Callable[[Path], AbstractContextManager[None]]
    take = claim_folder if verb in FILLED | {"montage"} else claim
    cli = next(cli for cli in CLIS if verb in cli.VERBS)
    words = WORDS[verb].format(out=out, **given).split()
    with take(out):
        before = sorted(tmp_path.rglob("*"))
        assert cli.main([verb, *words]) == 2
        assert sorted(tmp_path.rglob("*")) == before
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert re.fullmatch(
        rf"ubr-\w+ {verb}: {re.escape(str(out))} is being written by process \d+; wait until it "
        "has ended, or end it",
        last,
    )
