"""Two runs are paired question by question, and what changed is listed and grouped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from results_builder import DATE, sample, write_results, write_samples

from lm_eval_baichuan.comparison.pairing import Pairing, pair
from lm_eval_baichuan.results import ResultsError, read_logged, read_runs

LAW, LOGIC = "ceval_5shot_law", "ceval_5shot_logic"


def write_run(folder: Path, predictions: dict[str, str], targets: dict[str, str], questions: str = "题") -> Path:
    """Write a run that predicts the given letters, one a question of each task."""
    counts = {
        task: (sum(a == b for a, b in zip(said, targets[task], strict=True)), len(said))
        for task, said in predictions.items()
    }
    path = write_results(folder, counts)
    for task, said in predictions.items():
        lines = [
            sample(
                n,
                f"{questions} {task} {n}",
                "ABCD".index(targets[task][n]),
                [-1.0 - (label != letter) for label in "ABCD"],
            )
            for n, letter in enumerate(said)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"samples_{task}_{DATE}.jsonl").write_text(text, encoding="utf-8")
    return path


TARGETS = {LAW: "AABBCCDD", LOGIC: "ABCD"}
FIRST = {LAW: "AABBAAAA", LOGIC: "ABCD"}
SECOND = {LAW: "ABBBCABA", LOGIC: "ABCA"}


def pair_up(first: Path, second: Path) -> Pairing | None:
    one, other = read_runs([first, second])
    return pair(one, other, read_logged(one), read_logged(other))


@pytest.fixture
def pairing(tmp_path: Path) -> Pairing:
    found = pair_up(write_run(tmp_path / "one", FIRST, TARGETS), write_run(tmp_path / "two", SECOND, TARGETS))
    assert found is not None
    return found


def test_the_outcomes_of_both_runs_are_counted(pairing: Pairing) -> None:
    # law: lost question 1, gained 4, another wrong label at 6; logic: lost 3.
    assert (pairing.both_right, pairing.only_first, pairing.only_second, pairing.both_wrong) == (6, 2, 1, 3)
    assert (pairing.paired, pairing.unpaired) == (12, 0)
    assert pairing.p_value == pytest.approx(1.0)


def test_changes_are_listed_by_kind(pairing: Pairing) -> None:
    listed = [(c.subject, c.doc_id, c.answer, c.first, c.second, c.kind) for c in pairing.changes]
    assert listed == [
        ("law", 1, "A", "A", "B", "lost"),
        ("law", 4, "C", "A", "C", "gained"),
        ("law", 6, "D", "A", "B", "wrong"),
        ("logic", 3, "D", "D", "A", "lost"),
    ]


def test_changes_are_grouped_by_subject_and_label(pairing: Pairing) -> None:
    assert pairing.by_subject() == [("ceval", "law", 1, 1, 1), ("ceval", "logic", 0, 1, 0)]
    assert pairing.by_label() == [("A", "B", 0, 1, 1), ("A", "C", 1, 0, 0), ("D", "A", 0, 1, 0)]


def test_the_order_of_samples_and_tasks_does_not_matter(tmp_path: Path, pairing: Pairing) -> None:
    first = write_run(tmp_path / "one", FIRST, TARGETS)
    second = write_run(tmp_path / "two", {LOGIC: SECOND[LOGIC], LAW: SECOND[LAW]}, TARGETS)
    (path,) = (tmp_path / "two").glob("samples_*law*")
    path.write_text("".join(reversed(path.read_text(encoding="utf-8").splitlines(keepends=True))), encoding="utf-8")
    again = pair_up(first, second)
    assert again is not None
    assert again.changes == pairing.changes


def test_questions_of_one_run_only_are_counted_apart(tmp_path: Path) -> None:
    first = write_run(tmp_path / "one", FIRST, TARGETS)
    second = write_run(tmp_path / "two", {LAW: SECOND[LAW]}, TARGETS)
    found = pair_up(first, second)
    assert found is not None
    assert (found.paired, found.unpaired) == (8, 4)


def test_other_questions_under_the_same_numbers_are_refused(tmp_path: Path) -> None:
    first = write_run(tmp_path / "one", FIRST, TARGETS)
    second = write_run(tmp_path / "two", SECOND, TARGETS, questions="另一题")
    with pytest.raises(ResultsError, match="were not asked the same: question 0 of law"):
        pair_up(first, second)


@pytest.mark.parametrize(("name", "version"), [(LAW, 1.1), ("ceval_5shot_shuffled_law", 1.0)])
def test_a_run_with_shots_in_another_order_pairs_with_the_plain_one(name: str, version: float, tmp_path: Path) -> None:
    first = write_run(tmp_path / "one", {LAW: FIRST[LAW]}, TARGETS)
    second = write_results(tmp_path / "two", {name: (4, 8)}, metadata={"shots_seed": 1}, version=version)
    (samples,) = (tmp_path / "one").glob("samples_*")
    (tmp_path / "two" / samples.name.replace(LAW, name)).write_bytes(samples.read_bytes())
    found = pair_up(first, second)
    assert found is not None
    assert (found.paired, found.changes) == (8, ())


def test_other_splits_are_not_paired(tmp_path: Path) -> None:
    sat = "agieval_5shot_sat_math"
    counts = {sat: (4, 8)}
    paths = []
    for seed in (1, 2):
        paths.append(write_results(tmp_path / str(seed), counts, metadata={"split_seed": seed}))
        write_samples(tmp_path / str(seed), counts, texts=[f"{seed} {n}" for n in range(8)])
    assert pair_up(*paths) is None


def test_the_val_and_test_splits_are_not_paired(tmp_path: Path) -> None:
    first = write_run(tmp_path / "one", {LAW: FIRST[LAW]}, TARGETS)
    second = write_results(tmp_path / "two", {"ceval_5shot_val_law": (4, 8)}, split="val")
    (samples,) = (tmp_path / "one").glob("samples_*")
    (tmp_path / "two" / samples.name.replace("5shot_law", "5shot_val_law")).write_bytes(samples.read_bytes())
    assert pair_up(first, second) is None


def test_without_samples_nothing_is_paired(tmp_path: Path) -> None:
    first = write_run(tmp_path / "one", FIRST, TARGETS)
    assert pair_up(first, write_results(tmp_path / "two", {LAW: (3, 8)})) is None


def test_a_run_paired_with_itself_has_no_changes(tmp_path: Path) -> None:
    write_results(tmp_path, {LAW: (30, 80)})
    write_samples(tmp_path, {LAW: (30, 80)})
    found = pair_up(tmp_path, tmp_path)
    assert found is not None
    assert (found.both_right, found.both_wrong, found.changes, found.p_value) == (30, 50, (), 1.0)


def asked(**changed: str) -> dict[str, Any]:
    """What a run records of the questions of one task."""
    return {"questions": {LAW: {"asked": 8, "numbers": "0to7", "questions": "a", "shots": "b"} | changed}}


def with_facts(path: Path, facts: dict[str, Any]) -> Path:
    data = json.loads(path.read_text("utf-8"))
    data["config"]["baichuan"] |= facts
    path.write_text(json.dumps(data), "utf-8")
    return path


@pytest.mark.parametrize(("changed", "named"), [({"questions": "c"}, "questions"), ({"shots": "c"}, "shots")])
def test_runs_of_other_questions_or_shots_are_not_paired(changed: dict[str, str], named: str, tmp_path: Path) -> None:
    first = with_facts(write_run(tmp_path / "one", FIRST, TARGETS), asked())
    second = with_facts(write_run(tmp_path / "two", SECOND, TARGETS), asked(**changed))
    with pytest.raises(ResultsError, match=f"the {named} of ceval_5shot_law differ. Run both over the same data"):
        pair_up(first, second)


@pytest.mark.parametrize("facts", [asked(), asked(questions="c", numbers="0to3"), {}])
def test_runs_of_the_same_or_of_unknown_questions_are_paired(facts: dict[str, Any], tmp_path: Path) -> None:
    first = with_facts(write_run(tmp_path / "one", FIRST, TARGETS), asked())
    assert pair_up(first, with_facts(write_run(tmp_path / "two", SECOND, TARGETS), facts)) is not None
