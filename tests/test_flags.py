"""Flags: each one that a verb's help shows is one that the verb takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

import ubr.downstream.cli as detect
import ubr.pretrain.cli as pretrain
from ubr.pretrain.scores import command
from ubr.weights.common.options import Options

VERBS = {
    **{f"ubr-pretrain {verb}": (pretrain.main, [verb]) for verb in pretrain.VERBS},
    **{f"ubr-detect {verb}": (detect.main, [verb]) for verb in detect.VERBS},
    "ubr-score": (command.main, []),
}


@pytest.mark.parametrize(("main", "words"), VERBS.values(), ids=VERBS)
def test_flags__all_that_a_verb_offers_reach_it(
    main: Callable[[Sequence[str]], object], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Options] = []

    spelled = Options._spelled

    def read(options: Options, _: Sequence[str]) -> None:
        seen.append(options)
        raise SystemExit

    monkeypatch.setattr(Options, "_spelled", read)
    with pytest.raises(SystemExit):
        main([*words, "--none"])
    (options,) = seen
    groups = {one.dest.rpartition(".")[0] for one in options._actions}
    flags = [
        flag
        for one in options._actions
        for flag in one.option_strings
        if flag.startswith("--") and one.dest not in groups  # which are given by their options
    ]
    # Typed with dashes, as help shows them.
    lost = [flag for flag in flags if spelled(options, [flag.replace("_", "-")]) != [flag]]
    assert "--help" in flags and not lost
