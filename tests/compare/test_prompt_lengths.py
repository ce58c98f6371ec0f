"""A verdict is given only where long prompts lost what the published rule takes from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from results_builder import write_results

from lm_eval_baichuan.comparison.verdicts import Line, compare
from lm_eval_baichuan.published import load_published
from lm_eval_baichuan.results import known_suites, read_runs

PUBLISHED = load_published()
SHARES = {"ceval_5shot": 43, "mmlu_5shot": 42, "cmmlu_5shot": 44, "agieval_5shot": 34.4}


def average(folder: Path, suite: str, against: str = "Baichuan-7B", **options: Any) -> Line:
    """The average of a run whose first task has the given facts, with a score like the published one."""
    tasks = next(one.tasks for one in known_suites() if one.name == suite)
    facts = dict(options.pop("facts", {}))
    if "shortened" in facts:
        facts["shortened_prompts"] = {tasks[0]: facts.pop("shortened")}
    encoding = "bare" if suite == "cmmlu_5shot" else "isolated"
    outcome = dict.fromkeys(tasks, (round(10 * SHARES[suite]), 1000))
    path = write_results(folder, outcome, facts=facts, label_tokens=encoding, **options)
    (run,) = read_runs([path])
    lines = compare(run, PUBLISHED.model(against), PUBLISHED, 0.99).lines
    return next(line for line in lines if line.part == "average")


def by(limit: int, *, window: bool, prompts: int = 3, shots: int = 5) -> dict[str, Any]:
    counts = {"prompts": prompts, "shots": shots}
    return counts | {"limits": [{"limit": limit, "by_window": window} | counts]}


@pytest.mark.parametrize("suite", ["mmlu_5shot", "cmmlu_5shot"])
@pytest.mark.parametrize("facts", [{"shortened": by(2048, window=False)}, {"shortened": {"prompts": 3, "shots": 5}}])
def test_what_the_published_rule_took_is_only_noted(tmp_path: Path, suite: str, facts: dict[str, Any]) -> None:
    line = average(tmp_path, suite, facts=facts)
    assert (line.verdict, line.reasons) == ("within sampling error", ())
    assert "3 prompts lost shots by the published rule of 2048 tokens" in line.notes


@pytest.mark.parametrize(
    ("suite", "facts", "reason"),
    [
        (
            "mmlu_5shot",
            {"shortened": by(400, window=True)},
            "shortened prompts: 3 lost 5 shots to fit a window of 400 tokens; the published rule allows 2048: rerun "
            "with max_length=2048 or more",
        ),
        (  # as a file of an older version tells it
            "mmlu_5shot",
            {"shortened": {"prompts": 3, "shots": 5}, "max_length": 400},
            "shortened prompts: 3 lost 5 shots to fit a window of 400 tokens; the published rule allows 2048: rerun "
            "with max_length=2048 or more",
        ),
        (
            "ceval_5shot",
            {"shortened": by(400, window=True)},
            "shortened prompts: 3 lost 5 shots to fit a window of 400 tokens; published with all shots: rerun with "
            "max_length=4096 or more",
        ),
        (
            "ceval_5shot",
            {"shortened": by(4096, window=True)},
            "shortened prompts: 3 lost 5 shots to fit a window of 4096 tokens; published with all shots: rerun with a "
            "larger max_length",
        ),
        (
            "agieval_5shot",
            {"shortened": by(2048, window=True)},
            "shortened prompts: 3 lost 5 shots to fit a window of 2048 tokens; Baichuan-7B has 4096: rerun with "
            "max_length=4096 or more",
        ),
        (
            "agieval_5shot",
            {"shortened": {"prompts": 3, "shots": 5}, "max_length": 2048},
            "shortened prompts: 3 lost 5 shots to fit a window of 2048 tokens; Baichuan-7B has 4096: rerun with "
            "max_length=4096 or more",
        ),
        (
            "mmlu_5shot",
            {"shortened": {"prompts": 3, "shots": 5}, "max_length": None},
            "shortened prompts: 3 lost 5 shots; whether by the published rule of 2048 tokens or to a smaller window is "
            "not recorded: rerun with this version",
        ),
        (
            "agieval_5shot",
            {"shortened": {"prompts": 3, "shots": 5}, "max_length": None},
            "shortened prompts: 3 lost 5 shots to fit the model's window; Baichuan-7B has 4096: rerun with "
            "max_length=4096 or more",
        ),
        (  # a limit that the user gave the task
            "mmlu_5shot",
            {"shortened": by(400, window=False)},
            "shortened prompts: 3 lost 5 shots by the task's rule of 400 tokens; published by a rule of 2048 tokens",
        ),
    ],
)
def test_what_anything_else_took_leaves_no_verdict(
    tmp_path: Path, suite: str, facts: dict[str, Any], reason: str
) -> None:
    line = average(tmp_path, suite, facts=facts, arguments={"max_length": 400})
    assert line.verdict == "not comparable"
    assert line.reasons == (reason,)


def test_a_longer_window_is_asked_for_only_where_the_model_takes_it(tmp_path: Path) -> None:
    line = average(tmp_path, "mmlu_5shot", facts={"shortened": by(1024, window=True)})
    assert line.reasons[0].endswith("rerun with max_length=2048 or more, where the model takes that")


def test_both_limits_of_one_task_are_told_apart(tmp_path: Path) -> None:
    limits = [
        {"limit": 2048, "by_window": False, "prompts": 2, "shots": 2},
        {"limit": 2000, "by_window": True, "prompts": 1, "shots": 3},
    ]
    line = average(tmp_path, "mmlu_5shot", facts={"shortened": {"prompts": 3, "shots": 5, "limits": limits}})
    assert "2 prompts lost shots by the published rule of 2048 tokens" in line.notes
    assert len(line.reasons) == 1
    assert line.reasons[0].startswith("shortened prompts: 1 lost 3 shots to fit a window of 2000 tokens")


@pytest.mark.parametrize("shortened", [by(4096, window=True), {"prompts": 3, "shots": 5}])
def test_the_window_of_the_published_model_is_the_published_condition_of_agieval(
    tmp_path: Path, shortened: dict[str, Any]
) -> None:
    line = average(tmp_path, "agieval_5shot", facts={"shortened": shortened})
    assert line.verdict == "within sampling error"
    assert (
        "shortened prompts: 3 lost 5 shots to fit a window of 4096 tokens; how prompts beyond Baichuan-7B's own 4096 "
        "were shortened was never published"
    ) in line.notes


def test_a_larger_window_than_that_is_noted(tmp_path: Path) -> None:
    notes = average(tmp_path, "agieval_5shot", facts={"max_length": 8192}).notes
    assert "a window of 8192 tokens, which spares shots; Baichuan-7B has 4096" in notes
    assert not any("8192" in note for note in average(tmp_path, "mmlu_5shot", facts={"max_length": 8192}).notes)


def test_a_row_whose_window_is_not_recorded_gives_none_to_agree_with(tmp_path: Path) -> None:
    line = average(tmp_path, "agieval_5shot", "LLaMA-7B", facts={"shortened": by(4096, window=True)})
    assert any("LLaMA-7B has one that is not recorded" in reason for reason in line.reasons)


@pytest.mark.parametrize(("window", "blocked"), [(400, True), (4096, False), (None, False)])
def test_other_models_are_judged_by_the_window_that_lm_eval_records(
    tmp_path: Path, window: int | None, blocked: bool
) -> None:
    line = average(tmp_path, "agieval_5shot", model="hf", extra={"max_length": window})
    told = "a window of 400 tokens, where published prompts have up to 4096; whether it cut any is not recorded"
    assert any(reason.startswith(told) for reason in line.reasons) == blocked
    assert ("whether long prompts were cut is not recorded for this kind of model" in line.notes) != blocked


@pytest.mark.parametrize("counted", [False, True])
def test_answers_from_a_cache_are_noted_where_the_facts_leave_them_out(tmp_path: Path, counted: bool) -> None:
    average(tmp_path, "mmlu_5shot")
    (path,) = tmp_path.glob("results_*.json")
    data = json.loads(path.read_text(encoding="utf-8"))
    data["config"]["use_cache"] = "cache/mmlu"
    if counted:
        data["config"].setdefault("baichuan", {})["remembered_answers"] = 4
    path.write_text(json.dumps(data), encoding="utf-8")
    (run,) = read_runs([path])
    (line, *_) = compare(run, None, PUBLISHED, 0.95).lines
    told = "what is recorded of the run leaves out answers that came from --use_cache" in line.notes
    assert told != counted


def test_what_the_adapter_counts_is_what_is_read(tmp_path: Path) -> None:
    from lm_eval_baichuan.model_adapters.lm.prompt_shortening import ShotLoss
    from lm_eval_baichuan.model_adapters.lm.run_facts import RunFacts

    parts = [RunFacts(), RunFacts()]
    for facts in parts:  # as two processes count them
        facts.shortened["mmlu_5shot_anatomy"][ShotLoss(1, 2048, by_window=False)] += 4
        facts.shortened["mmlu_5shot_anatomy"][ShotLoss(3, 2000, by_window=True)] += 1
    recorded = json.loads(json.dumps(RunFacts.sum(parts).as_dict()))
    line = average(tmp_path, "mmlu_5shot", facts={"shortened_prompts": recorded["shortened_prompts"]})
    assert "8 prompts lost shots by the published rule of 2048 tokens" in line.notes
    assert line.reasons[0].startswith("shortened prompts: 2 lost 6 shots to fit a window of 2000 tokens")
