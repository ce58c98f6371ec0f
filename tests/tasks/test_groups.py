"""Groups: names, members, means; every group runs with lm-eval's dummy model."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TASKS = REPOSITORY / "tasks"
Evaluate = Callable[..., dict[str, Any]]
BENCHMARKS = ("ceval", "mmlu", "cmmlu", "gaokao", "agieval")
MACRO = ("ceval", "cmmlu")


class NoFunctions(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML is untyped
    """Reads a task's YAML without importing its functions."""


NoFunctions.add_constructor("!function", lambda loader, node: str(node.value))


def our_yaml() -> dict[str, dict[str, Any]]:
    """Every task and group of the five benchmarks by name."""
    found = {}
    for folder in (*(f"{benchmark}_5shot" for benchmark in BENCHMARKS), "baichuan_5shot"):
        for path in (TASKS / folder).glob("*.yaml"):
            content = yaml.load(path.read_text("utf-8"), Loader=NoFunctions)  # noqa: S506  # a SafeLoader
            assert path.stem.removeprefix("_") == content.get("task") or path.stem == f"_{content['group']}"
            found[content.get("group") or content["task"]] = content
    return found


def subjects_of(group: str, all_yaml: dict[str, dict[str, Any]]) -> list[str]:
    """The subjects of a group as often as its tree holds them."""
    members = all_yaml[group]["task"]
    if isinstance(members, str):
        return [members]
    return [subject for member in members for subject in subjects_of(member, all_yaml)]


@pytest.mark.parametrize("seeds", [{}, {"shots_seed": 1, "split_seed": 2}])
def test_all_benchmarks_in_one_run_with_the_means_of_the_logged_samples(
    seeds: dict[str, int], small_data: Path, evaluate: Evaluate
) -> None:
    results = evaluate("baichuan_5shot", data_dir=str(small_data), own_data=True, **seeds)
    check_means(results, "baichuan_5shot")
    for config in results["configs"].values():
        assert {key: config["metadata"][key] for key in seeds} == seeds


@pytest.mark.parametrize("group", ["ceval_5shot_val", "cmmlu_5shot_all"])
def test_one_benchmark_with_the_means_of_the_logged_samples(group: str, small_data: Path, evaluate: Evaluate) -> None:
    check_means(evaluate(group, data_dir=str(small_data), own_data=True), group)


@pytest.mark.slow
def test_the_real_questions_with_the_means_of_the_logged_samples(data_dir: Path, evaluate: Evaluate) -> None:
    results = evaluate("baichuan_5shot", data_dir=str(data_dir))
    check_means(results, "baichuan_5shot")
    asked = sum(len(samples) for samples in results["samples"].values())
    assert asked == 12342 + 14042 + 11582 + 1458 + 4776


def check_means(results: dict[str, Any], asked: str) -> None:
    """Each group's accuracy from the samples by hand: macro over subjects, or micro over questions."""
    all_yaml = our_yaml()
    subjects = subjects_of(asked, all_yaml)
    # lm-eval runs a subject once however many groups hold it; so the samples hold each subject once.
    assert sorted(results["samples"]) == sorted(set(subjects))
    checked = 0
    for group, content in all_yaml.items():
        if "group" not in content or group not in results["results"] or "aggregate_metric_list" not in content:
            continue
        scores = []
        for subject in set(subjects_of(group, all_yaml)):
            correct = []
            for sample in results["samples"][subject]:
                logprobs = [response[0][0] for response in sample["resps"]]
                correct.append("ABCD"[logprobs.index(max(logprobs))] == sample["target"])
            scores.append(correct)
        macro = group.split("_")[0] in MACRO
        by_hand = fmean(fmean(one) for one in scores) if macro else fmean(c for one in scores for c in one)
        assert results["results"][group]["acc,none"] == pytest.approx(by_hand, abs=1e-12), group
        checked += 1
    assert checked == (6 if asked.startswith(("ceval", "cmmlu")) else 6 + 5 + 6 + 1 + 3)


def test_no_mean_counts_a_subject_twice() -> None:
    all_yaml = our_yaml()
    for group, content in all_yaml.items():
        if "aggregate_metric_list" in content:
            assert max(Counter(subjects_of(group, all_yaml)).values()) == 1, group


@pytest.mark.parametrize(
    ("group", "sizes"),
    [
        ("ceval_5shot", {"stem": 20, "social_science": 10, "humanities": 11, "other": 11, "hard": 8, "": 52}),
        ("ceval_5shot_val", {"stem": 20, "social_science": 10, "humanities": 11, "other": 11, "hard": 8, "": 52}),
        ("mmlu_5shot", {"stem": 18, "humanities": 13, "social_sciences": 12, "other": 14, "": 57}),
        (
            "cmmlu_5shot",
            {"stem": 17, "humanities": 13, "social_science": 22, "other": 15, "china_specific": 15, "": 67},
        ),
        ("gaokao_5shot", {"": 9}),
        ("agieval_5shot", {"without_jec_qa": 13, "jec_qa": 2, "": 15}),
    ],
)
def test_groups_have_the_published_subjects(group: str, sizes: dict[str, int]) -> None:
    all_yaml = our_yaml()
    for part, size in sizes.items():
        assert len(subjects_of(f"{group}_{part}" if part else group, all_yaml)) == size


def test_cevals_categories_are_those_of_the_data(data_dir: Path) -> None:
    all_yaml = our_yaml()
    for subject, facts in json.loads((data_dir / "ceval" / "subjects.json").read_text("utf-8")).items():
        task = f"ceval_5shot_{subject}"
        category = facts["category"].lower().replace(" ", "_")
        assert task in subjects_of(f"ceval_5shot_{category}", all_yaml)
        assert (task in subjects_of("ceval_5shot_hard", all_yaml)) == facts["hard"]
        assert all_yaml[task]["dataset_kwargs"]["name"] == facts["baichuan_name"]


def test_no_name_is_one_of_lm_evals() -> None:
    import lm_eval.tasks
    from lm_eval.tasks._index import TaskIndex
    from lm_eval.tasks._yaml_loader import load_yaml

    theirs: dict[str, Any] = {}
    # Not TaskIndex.build: where this package is installed, that finds its tasks too.
    for path in Path(lm_eval.tasks.__file__).parent.rglob("*.yaml"):
        with contextlib.suppress(Exception):  # lm-eval itself skips the YAML it cannot read
            TaskIndex.process_cfg(load_yaml(path, resolve_func=False), path, theirs)
    assert len(theirs) > 10_000 and "mmlu_anatomy" in theirs
    assert not set(theirs) & set(our_yaml())


def test_lm_eval_validate_accepts_every_group() -> None:
    groups = [name for name, content in our_yaml().items() if "group" in content] + ["ceval_5shot_submission"]
    command = [sys.executable, "-m", "lm_eval", "validate", "--include_path", str(TASKS), "--tasks", ",".join(groups)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All tasks found and valid" in done.stdout


def test_generated_yaml_is_what_the_generator_writes() -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "scripts" / "generate_tasks.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
