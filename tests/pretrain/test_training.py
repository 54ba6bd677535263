"""Training: resume, worlds and workers change nothing; it learns; it refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import DataLoader

from tests.made.cuts import Cut, Payload, contents, cut_at
from tests.made.toys import toy_recipe, toy_store
from ubr.pretrain.cli import main
from ubr.pretrain.data.bank import SliceBank, prepare, to_grid
from ubr.pretrain.data.store import Store
from ubr.pretrain.module import UBR, Steps
from ubr.pretrain.planning import plan
from ubr.pretrain.recipes import RECIPES, Recipe, large, paper, recipe, reference_code
from ubr.pretrain.sampler import SliceSampler
from ubr.pretrain.scores.scoring import score
from ubr.pretrain.training import _last_quality, fit
from ubr.weights import Head, InputSpec, Intervals, Machine, Regressor, build, load
from ubr.weights.common import disk
from ubr.weights.common.callbacks import MetricsFile
from ubr.weights.common.claims import Claimed
from ubr.weights.common.trainer import StepsFrom
from ubr.weights.provenance import Provenance
from ubr.weights.scorer import score_grid

CPU = Machine(device="cpu")
QUIET = Intervals(progress=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toy_store(tmp_path_factory.mktemp("toy") / "store")


def metrics(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name != "images_per_s"} for line in lines
    ]


def test_fit__another_process_on_the_folder_is_refused_and_changes_nothing(
    store: Store, unbroken: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, write = [], MetricsFile.on_train_batch_end

    def and_another(self: MetricsFile, *args: Any) -> None:
        with pytest.raises(Claimed) as found:
            fit(store, tmp_path / "run", toy_recipe(), **CUTS)
        refused.append(str(found.value))
        write(self, *args)

    monkeypatch.setattr(MetricsFile, "on_train_batch_end", and_another)
    fit(store, tmp_path / "run", toy_recipe(), **CUTS)
    assert len(refused) == 10 and f"written by process {os.getpid()};" in refused[0]
    assert contents(tmp_path / "run") == unbroken
    assert not (tmp_path / "run" / ".claim").exists()


def test_fit__a_finished_run_is_rid_of_what_a_kill_after_its_last_file_left(
    store: Store, tmp_path: Path
) -> None:
    fit(store, tmp_path / "run", toy_recipe(), **CUTS)
    before = sorted((tmp_path / "run").rglob("*"))
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    (tmp_path / "run" / f".weights.safetensors.{disk._host()}-{process.pid}.x.part").mkdir()
    fit(store, tmp_path / "run", toy_recipe(), **CUTS)
    assert sorted((tmp_path / "run").rglob("*")) == before


@pytest.mark.heavy
def test_fit__killed_and_run_again_equals_the_unbroken_run_bit_for_bit(
    store: Store, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "machine": Machine(device="cpu"),
        "intervals": Intervals(4, 3, log_every=2, progress=False),
    }
    whole = fit(store, tmp_path / "whole", toy_recipe(), **options)
    script = f"""
        import os, signal, sys
        from pathlib import Path
        from tests.made.toys import toy_recipe
        from ubr.pretrain import module, training
        from ubr.weights import Intervals, Machine
        step = module.UBR.training_step
        def killing(self, batch, index):
            if batch.step == 8:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(self, batch, index)
        module.UBR.training_step = killing
        training.fit({str(store.path)!r}, {str(tmp_path / "cut")!r}, toy_recipe(), **{options!r})
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    assert not (tmp_path / "cut" / "weights.safetensors").exists()
    assert (
        torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
        == 8  # one before each validation, too
    )

    resumed = fit(store, tmp_path / "cut", toy_recipe(), **options)
    assert load(resumed.weights).sha256() == load(whole.weights).sha256()
    assert metrics(resumed.folder) == metrics(whole.folder)
    assert resumed.metrics == whole.metrics and len(metrics(whole.folder)) == 5 + 3

    again = fit(store, tmp_path / "cut", toy_recipe(), **options)
    assert (
        again.notes == ("already finished; nothing was trained",) and again.metrics == whole.metrics
    )


@pytest.fixture(scope="module")
def unbroken(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run of 10 steps holds: validated at 4, 8 and 10, saved at 3, 4, 6, 8, 9 and 10."""
    run = fit(store, tmp_path_factory.mktemp("unbroken") / "run", toy_recipe(), **CUTS)
    return contents(run.folder)


CUTS: dict[str, Any] = {"machine": CPU, "intervals": Intervals(4, 3, log_every=2, progress=False)}


@pytest.mark.parametrize(
    ("moment", "step"),
    [
        ("before the checkpoint", 4),
        ("between checkpoint and validation", 4),
        ("before the validation is noted", 8),
        ("after the validation", 8),
        ("before the checkpoint", 9),
        ("between checkpoint and validation", 9),
        ("before the last checkpoint", 10),
        ("after the last checkpoint", 10),
        ("before the validation is noted", 10),
        ("after the validation", 10),
        ("before the weights", 10),
    ],
)
def test_fit__cut_at_any_moment_leaves_the_files_of_the_unbroken_run(
    moment: str, step: int, store: Store, unbroken: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        cut_at(moment, step, patch)
        fit(store, tmp_path / "run", toy_recipe(), **CUTS)
    fit(store, tmp_path / "run", toy_recipe(), **CUTS)
    found = contents(tmp_path / "run")
    assert [line["step"] for line in found["metrics.jsonl"] if "val/r" in line] == [4, 8, 10]
    assert found.keys() == unbroken.keys()
    assert [name for name in found if found[name] != unbroken[name]] == []


@pytest.mark.parametrize(("steps", "every"), [(10, 4), (7, 100), (6, 3)])
def test_fit__states_the_quality_of_the_final_weights(
    steps: int, every: int, store: Store, tmp_path: Path
) -> None:
    """Computed anew: r of each held-out series from the scores of the file."""
    intervals = Intervals(validate_every=every, progress=False)
    recipe = toy_recipe(steps=steps, lr=5e-3)
    run = fit(store, tmp_path / "run", recipe, holdout=0.3, machine=CPU, intervals=intervals)
    weights = load(run.weights)
    held_out = yaml.safe_load((run.folder / "config.yaml").read_text())["data"]["held_out"]
    scored = score(run.weights, [store.path], tmp_path / "scores", progress=False)
    z_mm = {row.key: row.z_mm for row in store.rows()}
    r = np.mean(
        [np.corrcoef(s.scores, z_mm[s.key])[0, 1] for s in scored.series if s.key in held_out]
    )
    assert len(held_out) == 4
    assert run.metrics["r"] == weights.provenance["held_out"]["r"] == pytest.approx(r, abs=1e-4)
    assert f"{run.metrics['r']:.4f}"[:6] in (run.folder / "card.md").read_text()
    assert [line["step"] for line in metrics(run.folder) if "val/r" in line][-1] == steps


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_fit__stops_with_the_step_saved_and_resumes_from_it(
    number: int,
    store: Store,
    unbroken: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    step, handlers = UBR.training_step, [signal.getsignal(n) for n in (2, 15)]

    def asked(self: UBR, batch: Any, index: int) -> torch.Tensor:
        if batch.step == 4:  # the fifth
            os.kill(os.getpid(), number)
        return step(self, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UBR, "training_step", asked)
        with pytest.raises(KeyboardInterrupt, match=r"^step 5 is saved; repeat the command to res"):
            fit(store, tmp_path / "run", toy_recipe(), **CUTS)
    assert [signal.getsignal(n) for n in (2, 15)] == handlers
    shown = dataclasses.replace(CUTS["intervals"], progress=True)
    fit(store, tmp_path / "run", toy_recipe(), machine=CPU, intervals=shown)
    assert capsys.readouterr().err.count("resumed from step 5 of 10\n") == 1
    found = contents(tmp_path / "run")
    assert [name for name in found if found[name] != unbroken[name]] == []


def test_fit__interrupted_before_a_step_does_not_promise_to_resume(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: UBR, stage: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(UBR, "setup", interrupted)
    with pytest.raises(KeyboardInterrupt, match="nothing was trained yet; repeat the command to s"):
        fit(store, tmp_path / "run", toy_recipe(), **CUTS)


def test_fit__a_foreign_checkpoint_executes_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        cut_at("between checkpoint and validation", 4, patch)
        fit(store, tmp_path / "run", toy_recipe(), **CUTS)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)
    torch.save({**saved, "payload": Payload(tmp_path / "executed")}, last)
    with pytest.raises(ValueError, match="holds more than numbers, so it is not opened; remove it"):
        fit(store, tmp_path / "run", toy_recipe(), **CUTS)
    last.write_bytes(last.read_bytes()[:999])
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged"):
        fit(store, tmp_path / "run", toy_recipe(), **CUTS)
    assert not (tmp_path / "executed").exists()


@pytest.mark.heavy
def test_fit__two_processes_train_what_one_would(store: Store, tmp_path: Path) -> None:
    """DDP over gloo through the command line, g = 5 over two ranks (3 and 2 groups), equals one
    process but for the order of sums.
    """
    config = dataclasses.asdict(toy_recipe(g=5, steps=6, optimizer="sgd", lr=0.01))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(config))))
    runs = [tmp_path / f"devices-{devices}" for devices in (1, 2)]
    words = ["fit", str(store.path), "--config", str(tmp_path / "recipe.yaml")]
    words += ["--accelerator", "cpu", "--validate_every", "3"]
    assert main([*words, "--out", str(runs[0])]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "ubr.pretrain.cli", *words, "--out", str(runs[1]), "--devices", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    tensors = []
    for run in runs:
        weights = load(run / "weights.safetensors")
        tensors.append({**weights.trunk, **weights.head})
        assert len(metrics(run)) == 2
    for name, one in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], one, rtol=1e-4, atol=1e-6)
    start = build("timm/test_convnext").body.state_dict()
    assert any((tensors[0][name] - start[name]).abs().max() > 1e-3 for name in start)


@pytest.mark.parametrize("place", ["ram", "file"])
def test_batches__same_for_any_number_of_workers_and_processes(store: Store, place: str) -> None:
    rows = store.rows()
    bank = SliceBank(prepare(store, rows, InputSpec(size_px=32)), rows, place=place)  # type: ignore[arg-type]
    sampler = SliceSampler([row.z_mm for row in rows], g=5, m=4, seed=1)

    def batches(
        workers: int, rank: int = 0, world: int = 1, first: int = 0
    ) -> list[tuple[int, torch.Tensor, torch.Tensor]]:
        loader = DataLoader(
            Steps(sampler, bank, rank, world),
            batch_size=None,
            sampler=StepsFrom(first, 6),
            num_workers=workers,
        )
        return [(b.step, b.rows, b.hu) for b in loader]

    expected = batches(0)
    assert [step for step, _, _ in expected] == list(range(6))
    for workers in (2, 4):
        for (s, r, h), (s0, r0, h0) in zip(batches(workers), expected, strict=True):
            assert s == s0 and torch.equal(r, r0) and torch.equal(h, h0)
    for one, first, second in zip(expected, batches(0, 0, 2), batches(2, 1, 2), strict=True):
        assert torch.equal(
            torch.cat([first[1], second[1]]), torch.cat([one[1][0::2], one[1][1::2]])
        )
        assert torch.equal(
            torch.cat([first[2], second[2]]), torch.cat([one[2][0::2], one[2][1::2]])
        )
    assert [step for step, _, _ in batches(0, first=4)] == [4, 5]


@pytest.mark.parametrize("name", ["grids", "grids/*"])
def test_bank__writes_through_no_link(name: str, tmp_path: Path) -> None:
    store, inputs, elsewhere = toy_store(tmp_path / "store"), InputSpec(size_px=32), tmp_path / "e"
    folder = prepare(store, store.rows(), inputs)
    linked = folder if "*" in name else folder.parent
    shutil.rmtree(linked)
    elsewhere.mkdir()
    linked.symlink_to(elsewhere)
    with pytest.raises(ValueError, match="is a link, which is not followed"):
        prepare(store, store.rows(), inputs)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("neighbours_mm", [None, 4.0])
def test_bank__same_bytes_from_ram_and_files(store: Store, neighbours_mm: float | None) -> None:
    rows = store.rows()
    folder = prepare(store, rows, InputSpec(size_px=32, field="body", neighbours_mm=neighbours_mm))
    ram, file = SliceBank(folder, rows, place="ram"), SliceBank(folder, rows, place="file")
    numbers = torch.randint(
        0, int(ram.offsets[-1]), (7, 5), generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(ram.gather(numbers), file.gather(numbers))
    assert ram.gather(numbers).unique().numel() > 100
    assert ram.gather(numbers).shape == (7, 5, *((3,) if neighbours_mm else ()), 32, 32)


def test_fit__learns_order_from_the_toy_world(store: Store, tmp_path: Path) -> None:
    run = fit(
        store,
        tmp_path / "run",
        toy_recipe(steps=80, g=6, m=6, lr=5e-3),
        machine=CPU,
        intervals=Intervals(validate_every=80, progress=False),
    )
    assert run.metrics["r"] > 0.95 and run.metrics["ordered"] > 0.9
    weights = load(run.weights)
    assert (
        weights.provenance["data"]["series"] == 11 and weights.provenance["held_out"]["series"] == 1
    )
    assert "held-out" in (run.folder / "card.md").read_text()


def test_fit__with_neighbours_as_channels_and_scored_with_them(
    store: Store, tmp_path: Path
) -> None:
    recipe = toy_recipe(
        steps=80,
        g=6,
        m=6,
        lr=5e-3,
        inputs=InputSpec(size_px=32, window_hu=(-1000.0, 1000.0), neighbours_mm=3.0),
    )
    run = fit(store, tmp_path / "run", recipe, machine=CPU, intervals=Intervals(80, progress=False))
    assert run.metrics["r"] > 0.95
    scored = score(run.weights, [store.path], tmp_path / "scores", progress=False)
    regressor, row = Regressor.from_weights(load(run.weights)).eval(), store.rows()[0]
    grid = to_grid(store, row, recipe.inputs)
    found = next(one.scores for one in scored.series if one.key == row.key)
    assert grid.shape == (row.slices, 3, 32, 32)
    np.testing.assert_allclose(found, score_grid(regressor, grid), rtol=1e-5, atol=1e-6)
    assert np.abs(found - score_grid(regressor, grid[:, 1])).max() > 1e-3  # the neighbours are seen


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_fit__clips_gradients_in_every_precision(
    store: Store, tmp_path: Path, precision: str, optimizer: str
) -> None:
    """A norm of almost nothing leaves the weights where they started; without it they move."""
    moved = []
    for clip in (1e-12, None):
        recipe = toy_recipe(
            steps=2,
            precision=precision,
            optimizer=optimizer,
            clip_norm=clip,
            weight_decay=0.0,
            lr=1e-3,
        )
        run = fit(store, tmp_path / f"{clip}", recipe, machine=CPU, intervals=QUIET)
        before = UBR(recipe, store, store.usable()).regressor.backbone.body.state_dict()
        moved.append(
            max(float((t - before[n]).abs().max()) for n, t in load(run.weights).trunk.items())
        )
    assert moved[0] < 1e-6 < 1e-5 < moved[1], moved


def test_fit__refuses_a_folder_of_another_run(store: Store, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").touch()
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        fit(store, tmp_path / "full", toy_recipe())
    fit(store, tmp_path / "run", toy_recipe(steps=1), machine=CPU, intervals=QUIET)
    with pytest.raises(ValueError, match=r"holds another run \(different recipe.steps\)"):
        fit(store, tmp_path / "run", toy_recipe(steps=2))


def test_plan__splits_by_patient_and_says_what_is_too_short(tmp_path: Path) -> None:
    store = toy_store(tmp_path / "store", volumes=10, slices=12)
    planned = plan(store, toy_recipe(m=12), 0.3)
    assert {row.patient for row in planned.train}.isdisjoint(
        row.patient for row in planned.held_out
    )
    assert len(planned.held_out) == 3 and len(planned.train) == 7
    chosen = plan(store, toy_recipe(), [planned.train[0].patient])
    assert [row.key for row in chosen.held_out] == [planned.train[0].key]
    with pytest.raises(
        ValueError,
        match=r"0 series are left to train on, fewer than g = 4 per step \(1 held out, 10 too "
        r"short\)",
    ):
        plan(store, toy_recipe(m=13))
    with pytest.raises(ValueError, match=r"holdout must be in 0\.\.1 .* got 1\.5"):
        plan(store, toy_recipe(), 1.5)
    with pytest.raises(ValueError, match="1 of the patients to hold out are not in the store"):
        plan(store, toy_recipe(), ["nobody"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"schedule": "cosine", "drops": (0.5,)},
            ["drops have no effect: the schedule is 'cosine'"],
        ),
        (
            {"stretch": 0.1, "position_weight": 0.0},
            ["stretch has no effect: the position weight is 0"],
        ),
        ({"schedule": "steps", "drops": (0.5,)}, []),
        ({"stretch": 0.1, "position_weight": 1.0}, []),
    ],
)
def test_plan__says_what_has_no_effect(changes: Any, says: list[str], tmp_path: Path) -> None:
    store = toy_store(tmp_path / "store", volumes=10, slices=12)
    notes = plan(store, toy_recipe(**changes)).notes
    assert [note.partition(", not")[0] for note in notes if "no effect" in note] == says


def test_plan__says_which_series_are_damaged(tmp_path: Path) -> None:
    store = toy_store(tmp_path / "store", volumes=10, slices=12)
    row = store.path / "series" / f"{store.rows()[0].key}.json"
    row.write_bytes(row.read_bytes()[:-9])
    store.rebuild()
    few, damaged = plan(store, toy_recipe()).notes
    assert re.match(r"only \d series for a random start: use 100 or more", few)
    assert damaged.startswith("1 series cannot be used: its row in the store is damaged")


def test_head__is_the_papers() -> None:
    """Conv6 (512 of 1x1) + ReLU, the mean of each map, one product; so it does not matter where in
    the map the body lies.
    """
    head = Head(16, std=0.001)
    features = torch.randn(3, 16, 4, 5)
    maps = torch.relu(
        torch.einsum("oc,nchw->nohw", head.conv6.weight[:, :, 0, 0], features)
        + head.conv6.bias[None, :, None, None]
    )
    expected = maps.flatten(2).mean(2) @ head.fc7.weight[0] + head.fc7.bias
    torch.testing.assert_close(head(features), expected)
    torch.testing.assert_close(head(features.roll(2, dims=3)), expected)
    assert head.conv6.weight.std().item() == pytest.approx(0.001, rel=0.1)


def test_regressor__scores_stay_float32_under_bf16() -> None:
    regressor = Regressor(build("timm/test_convnext"), InputSpec(size_px=32)).eval()
    grid = torch.randint(-1000, 1000, (5, 32, 32), dtype=torch.int16)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        scores = regressor.score(grid)
    assert scores.dtype == torch.float32 and scores.shape == (5,)
    assert not torch.equal(scores, scores.bfloat16().float())


def test_losses__do_not_depend_on_how_groups_are_spread_over_processes(store: Store) -> None:
    """The mean over ranks of the scaled losses is the loss of all groups:

    what DDP needs for gradients to be those of one process.
    """
    scores, z_mm = torch.randn(5, 4), 5 * torch.arange(20).view(5, 4)
    for mean in (False, True):
        module = UBR(toy_recipe(g=5, mean_losses=mean, position_weight=1.0), store, store.rows())

        class Trainer:
            world_size = 1

        module._trainer = Trainer()  # type: ignore[assignment]
        whole = module.losses(scores, z_mm)
        assert set(whole) == {"order", "distance", "position"}
        Trainer.world_size = 2
        halves = [module.losses(scores[rank::2], z_mm[rank::2]) for rank in range(2)]
        for name, loss in whole.items():
            torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, loss)


def test_recipes__are_complete_and_distinct() -> None:
    assert set(RECIPES) == {"default", "lite", "large", "paper", "paper_clipped", "reference_code"}
    assert (large().backbone, large().lr, large().inputs.size_px, large().steps) == (
        "vgg16",
        5e-4,
        128,
        4500,
    )
    assert (paper().g, paper().m, paper().lr, paper().steps, paper().backbone, paper().start) == (
        12,
        8,
        0.002,
        1500,
        "vgg16",
        "imagenet",
    )
    assert (paper().order_scale, paper().distance_weight, paper().mean_losses) == (1, 1, False)
    code = reference_code()
    assert (code.g, code.order_scale, code.mean_losses, code.begin, code.bias_lr_factor) == (
        20,
        2,
        True,
        "ends",
        2,
    )
    assert [code.rate(step) for step in (0, 4999, 5000)] == pytest.approx([1, 1, 0.1])
    assert len({make().sha256() for make in RECIPES.values()}) == len(RECIPES)


def test_rate__cosine_warms_up_and_ends_at_a_hundredth() -> None:
    r = toy_recipe(steps=1000, schedule="cosine")
    assert (
        r.rate(0) == pytest.approx(1 / 50)
        and r.rate(50) == pytest.approx(1)
        and r.rate(1000) == pytest.approx(0.01)
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"g": 0}, "g must be in 1..4096, got 0"),
        ({"m": 1}, "m must be in 2..256, got 1"),
        ({"lr": 0.0}, "lr must be in"),
        ({"head_std": 0.0}, "head_std must be above 0 or null, got 0.0"),
    ],
)
def test_recipe__refuses_values_out_of_range(changes: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Recipe(**changes)  # type: ignore[arg-type]


def test_recipe__unknown_name() -> None:
    with pytest.raises(
        ValueError,
        match="unknown recipe 'papper'; allowed: default, lite, large, paper, paper_clipped, ",
    ):
        recipe("papper")


@pytest.mark.parametrize(
    "change",
    [{"val/r": float("inf")}, {"val/r": -1.5}, {"val/ordered": 1e300}, {"val/ordered": None}],
)
def test_last_quality__is_that_of_a_validation(
    tmp_path: Path, change: dict[str, float | None]
) -> None:
    line = {"step": 4, "val/r": 0.9, "val/ordered": 0.8, "val/error_mm": 7.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    assert _last_quality(tmp_path) == {"r": 0.9, "ordered": 0.8, "error_mm": 7.5}
    text = json.dumps({k: v for k, v in {**line, **change}.items() if v is not None})
    (tmp_path / "metrics.jsonl").write_text(text + "\n")
    with pytest.raises(ValueError, match="record is invalid; the run is damaged"):
        _last_quality(tmp_path)


def test_provenance__tells_whether_scores_follow_mm() -> None:
    for name, follows in (("default", True), ("lite", True), ("large", True), ("paper", False)):
        made = {"recipe": recipe(name).described()}
        assert Provenance.model_validate(made).follows_mm == follows, name
    assert not Provenance().follows_mm, "of weights that say nothing"
