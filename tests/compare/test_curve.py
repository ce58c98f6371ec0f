"""Checkpoints of one training as a curve: eight that the demo's training kept, and names and numbers made up."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from packed_runs import unpacked
from results_builder import write_results

from lm_eval_baichuan import cli, compare
from lm_eval_baichuan.comparison.intervals import mcnemar
from lm_eval_baichuan.comparison.outcome import Outcome, find_outcome
from lm_eval_baichuan.comparison.positions import positions
from lm_eval_baichuan.model_adapters.errors import OptionError
from lm_eval_baichuan.results import known_suites, read_runs

STEPS = tuple(range(100, 900, 100))
DEMO = next(suite for suite in known_suites() if suite.name == "demo_5shot").tasks


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lm-eval wrote of the demo at eight steps of a short training, all questions logged."""
    return unpacked("demo_checkpoints", tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def found(checkpoints: Path) -> Outcome:
    return find_outcome(read_runs([checkpoints]), None, 0.95)


def right_by_hand(checkpoints: Path, step: int) -> dict[tuple[str, int], bool]:
    """Which questions a checkpoint answered right, from nothing but the log-likelihoods in the samples."""
    right = {}
    for path in (checkpoints / f"demo-short__checkpoint-{step}").glob("samples_*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            sample = json.loads(line)
            scores = [float(response[0]) for response in sample["filtered_resps"]]
            right[path.name.partition("_2")[0], sample["doc_id"]] = (
                "ABCD"[scores.index(max(scores))] == sample["target"]
            )
    return right


def test_eight_real_checkpoints_make_one_curve(checkpoints: Path, found: Outcome) -> None:
    (curve,) = found.curves
    assert (curve.unit, [point.position.value for point in curve.points]) == ("step", list(STEPS))
    by_hand = [right_by_hand(checkpoints, step) for step in STEPS]
    assert [point.score.ours.value for point in curve.points] == pytest.approx(
        [100 * sum(right.values()) / 240 for right in by_hand]
    )
    for point in curve.points:
        assert point.score.ours.low <= point.score.ours.value <= point.score.ours.high
    assert [run.run.name for run in found.comparisons] == [f"checkpoint-{step}" for step in STEPS]


def test_what_changed_from_one_checkpoint_to_the_next_is_paired(checkpoints: Path, found: Outcome) -> None:
    (curve,) = found.curves
    by_hand = [right_by_hand(checkpoints, step) for step in STEPS]
    assert curve.points[0].change is None
    for before, after, point in zip(by_hand, by_hand[1:], curve.points[1:], strict=False):
        assert point.change is not None
        assert point.change.flips is not None
        gained = sum(after[question] and not before[question] for question in before)
        lost = sum(before[question] and not after[question] for question in before)
        assert (point.change.flips.gained, point.change.flips.lost, point.change.flips.of) == (gained, lost, 240)
        assert point.change.flips.p_value == pytest.approx(mcnemar(lost, gained))
        assert point.change.told_apart == (mcnemar(lost, gained) < 0.05)


def test_the_best_checkpoint_and_those_not_told_apart_from_it(found: Outcome) -> None:
    (curve,) = found.curves
    assert curve.best.position.value == 700  # of two that answered everything right the first
    assert [point.position.value for point in curve.like_best] == [800]


def test_the_terminal_shows_the_curve_and_the_models_as_columns(
    checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", str(checkpoints)]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "demo over the training of demo-short/*" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["500", "47.50", "42.50–52.50", "+25.00", "104", "44", "8.87e-07", "differs", "240"] in lines
    assert ["700", "100.00", "98.42–100.00", "+21.25", "51", "0", "8.88e-16", "differs", "240", "best"] in lines
    assert "not told apart from it: 800" in text
    heads = [line for line in lines if line[:1] == ["benchmark"]]
    assert [name for line in heads for name in line if name.startswith("checkpoint")] == [
        f"checkpoint-{step}" for step in STEPS
    ]
    assert [cell for line in lines if line[:1] == ["demo"] for cell in line if cell == "[b]"] == ["[b]"]
    assert "[b] below chance (25 %)" in text
    assert "all 8 runs verified: 64 requests, largest difference 6.7e-06 nats (bound 0.001)" in " ".join(text.split())


def test_csv_and_json_hold_the_curve(checkpoints: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(checkpoints), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["x"], row["x_unit"]) for row in rows] == [(f"{step}.0", "step") for step in STEPS]
    assert cli.main(["compare", str(checkpoints), "--format", "json"]) == 0
    (curve,) = json.loads(capsys.readouterr().out)["curves"]
    assert (curve["best"], curve["like_best"]) == (700, [800])
    assert curve["points"][4]["change"]["gained"] == 104


@pytest.mark.parametrize(
    ("names", "unit", "values"),
    [
        (["out/checkpoint-500", "out/checkpoint-1000"], "step", [500, 1000]),
        (["a/step500", "a/step1500"], "step", [500, 1500]),
        (["a/global_step0500/hf", "a/global_step1000/hf"], "step", [500, 1000]),
        (["a/iter_0000500", "a/iter_0001000"], "step", [500, 1000]),
        (["ckpts/0500", "ckpts/1000"], "step", [500, 1000]),
        (["a/baichuan-500B-tokens", "a/baichuan-1.2T-tokens"], "tokens", [500e9, 1.2e12]),
        (["a/tokens-20M", "a/tokens-1B"], "tokens", [20e6, 1e9]),
        (["a/train_00220B", "a/train_00440B"], "tokens", [220e9, 440e9]),
        (["a/1.2T", "a/2.4T"], "tokens", [1.2e12, 2.4e12]),
        (["a/step1000-tokens4B", "a/step2000-tokens8B"], "step", [1000, 2000]),
        (["a/epoch_1", "a/epoch_2"], "epoch", [1, 2]),
    ],
)
def test_names_that_say_where_a_checkpoint_stands(
    tmp_path: Path, names: list[str], unit: str, values: list[float]
) -> None:
    runs = read_runs(
        [write_results(tmp_path / str(n), {DEMO[0]: (1, 4)}, pretrained=name) for n, name in enumerate(names, 1)]
    )
    read = positions(runs)
    assert [(position.unit, position.value) for position in read if position] == [(unit, value) for value in values]
    assert len({position.training for position in read if position}) == 1


@pytest.mark.parametrize(
    "name",
    ["baichuan-inc/Baichuan-7B", "baichuan-inc/Baichuan2-13B-Base", "models/7B", "a/llama-65b", "my-step", "v2.1"]
    + ["runs/20261125", "a/checkpoint-final", "a/step500B"],
)
def test_sizes_and_dates_are_no_steps(tmp_path: Path, name: str) -> None:
    runs = read_runs([write_results(tmp_path / "results", {DEMO[0]: (1, 4)}, pretrained=name)])
    assert positions(runs) == [None]


def test_the_folder_of_the_results_and_the_revision_say_it_too(tmp_path: Path) -> None:
    folders = [write_results(tmp_path / f"step{n}", {DEMO[0]: (1, 4)}, pretrained="me/model").parent for n in (10, 20)]
    assert [position.value for position in positions(read_runs(folders)) if position] == [10, 20]
    for n in (1, 2):
        arguments = {"revision": f"train_00{n}20B"}
        date = f"2026-01-0{n}T00-00-00.1"
        write_results(tmp_path / "all", {DEMO[0]: (1, 4)}, pretrained="me/base", arguments=arguments, date=date)
    read = positions(read_runs([tmp_path / "all"]))
    assert [(position.value, position.words) for position in read if position] == [(120e9, "120B"), (220e9, "220B")]


def write_training(folder: Path, names: list[str]) -> list[str]:
    paths = []
    for number, name in enumerate(names):
        tasks = dict.fromkeys(DEMO, (30 + number, 100))
        paths.append(str(write_results(folder / str(number), tasks, pretrained=name)))
    return paths


def test_x_places_runs_whose_names_say_nothing(tmp_path: Path) -> None:
    paths = write_training(tmp_path, ["me/a", "me/b", "me/c"])
    assert find_outcome(read_runs([Path(path) for path in paths]), None, 0.95).curves == ()
    found = find_outcome(read_runs([Path(path) for path in paths]), None, 0.95, x=["1.2T", "220B", "440B"])
    (curve,) = found.curves
    assert [(point.position.words, point.score.run) for point in curve.points] == [
        ("220B", "b"),
        ("440B", "c"),
        ("1.2T", "a"),
    ]
    assert curve.unit == "tokens"
    assert "over the training of these runs" in repr(compare(paths, x=[1, 2, 3]))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ("1,2", r"--x has 2 values for 3 runs \(a, b, c\); expected one each"),
        ("1,2,x", "--x: 'x' is no number; expected such as 500, 220B or 1.2T"),
        ("1,2,2", "--x: two runs stand at the same place"),
    ],
)
def test_an_x_that_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], x: str, message: str
) -> None:
    paths = write_training(tmp_path, ["me/a", "me/b", "me/c"])
    with pytest.raises(OptionError, match=message):
        compare(paths, x=x.split(","))
    assert cli.main(["compare", *paths, "--x", x]) == 2
    assert "--x" in capsys.readouterr().err


def test_two_trainings_are_two_curves_and_seeds_at_one_step_none(tmp_path: Path) -> None:
    paths = write_training(tmp_path, [f"{training}/checkpoint-{n}" for training in ("a", "b") for n in (1, 2, 3)])
    curves = find_outcome(read_runs([Path(path) for path in paths]), None, 0.95).curves
    assert [curve.training for curve in curves] == ["a/*", "b/*"]
    same = write_training(tmp_path / "same", ["a/checkpoint-1", "a/checkpoint-1", "a/checkpoint-2", "a/checkpoint-3"])
    assert find_outcome(read_runs([Path(path) for path in same]), None, 0.95).curves == ()


def test_a_partial_checkpoint_is_marked_in_the_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_training(tmp_path, ["a/checkpoint-1", "a/checkpoint-2"])
    tasks = dict.fromkeys(DEMO, (5, 8))
    paths.append(str(write_results(tmp_path / "p", tasks, pretrained="a/checkpoint-3", limit=8.0, available=100)))
    assert cli.main(["compare", *paths, "--format", "markdown"]) == 0
    curve = capsys.readouterr().out.partition("### Runs")[0]
    assert "| 62.50 [a] |" in " ".join(curve.split())
    assert "- [a] --limit 8: 32 of 400 questions" in curve
    assert "best: 2 (31.00)" in curve  # not the partial one, whatever it scored
