"""Which rows are shots and in which order: drawn from a seed, and from nothing else."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain_prompts
import pytest

Load = Callable[..., dict[str, Any]]
ONE_SUBJECT = {
    "ceval_5shot": "law",
    "mmlu_5shot": "virology",
    "cmmlu_5shot": "arts",
    "gaokao_5shot": "physics",
    "agieval_5shot": "gaokao_chinese",
}


def contexts(task: Any) -> list[str]:
    task.build_all_requests()
    return [request.args[0] for request in task.instances[::4]]


def shots_of(task: Any) -> list[list[str]]:
    """For each question its shots, cut out of the prompt by the lengths that the document gives."""
    cut = []
    for context, doc in zip(contexts(task), task.eval_docs, strict=True):
        end, shots = doc["description_length"], []
        for length in doc["shot_lengths"]:
            shots.append(context[end : end + length])
            end += length
        assert context[:end][: doc["description_length"]] == doc["instruction"]
        assert context[end:] == doc["prompt"]
        cut.append(shots)
    return cut


@pytest.mark.parametrize("group", ONE_SUBJECT)
def test_a_shots_seed_puts_the_same_shots_in_another_order(
    group: str, source: tuple[Path, dict[str, Any]], load: Load
) -> None:
    _, metadata = source
    task = f"{group}_{ONE_SUBJECT[group]}"

    def loaded(**seeds: Any) -> Any:
        return load(task, **metadata, **seeds)[task]

    plain, drawn = loaded(), loaded(shots_seed=0)
    assert contexts(plain) == contexts(loaded(shots_seed=None)) != contexts(drawn)
    assert contexts(drawn) == contexts(loaded(shots_seed=0)) != contexts(loaded(shots_seed=1))
    fixed, shuffled = shots_of(plain), shots_of(drawn)
    assert all(sorted(one) == sorted(two) for one, two in zip(fixed, shuffled, strict=True))
    orders = {tuple(shots) for shots in shuffled}
    assert (len(orders) == 1) == (group in ("mmlu_5shot", "cmmlu_5shot"))
    if len(shuffled) > 100 and len(orders) > 1:  # each question its own draw: most of the 120 orders occur
        assert len(orders) > 60


@pytest.mark.parametrize("group", ONE_SUBJECT)
def test_a_split_seed_draws_other_shots_where_the_split_is_ours(group: str, small_data: Path, load: Load) -> None:
    metadata = {"data_dir": str(small_data), "own_data": True}
    task = f"{group}_{ONE_SUBJECT[group]}"
    plain, zero, other = (load(task, **metadata, **s)[task] for s in ({}, {"split_seed": 0}, {"split_seed": 1}))
    assert contexts(plain) == contexts(zero)
    ours = group in ("gaokao_5shot", "agieval_5shot")
    assert ours == bool(plain.config.metadata["protocol"].get("split_drawn"))
    assert (sorted(shots_of(plain)[0]) != sorted(shots_of(other)[0])) == ours
    assert (contexts(plain) != contexts(other)) == ours


@pytest.mark.parametrize("group", ONE_SUBJECT)
@pytest.mark.parametrize(
    ("seed", "message"),
    [
        ({"shots_seed": "x"}, "--metadata shots_seed is 'x', a whole number was expected"),
        ({"shots_seed": True}, "--metadata shots_seed is True, a whole number was expected"),
        ({"split_seed": 1.0}, "--metadata split_seed is 1.0, a whole number was expected"),
        ({"shot_seed": 1}, "--metadata shot_seed: no task draws by it. The seeds are shots_seed and split_seed"),
    ],
)
def test_a_seed_that_would_draw_nothing_is_refused(
    group: str, seed: dict[str, Any], message: str, small_data: Path, load: Load
) -> None:
    with pytest.raises(ValueError, match=message):
        load(f"{group}_{ONE_SUBJECT[group]}", data_dir=str(small_data), own_data=True, **seed)


@pytest.mark.parametrize("group", ["gaokao_5shot", "agieval_5shot"])
def test_the_split_is_the_documented_one(
    group: str,
    source: tuple[Path, dict[str, Any]],
    load: Load,
    tables: dict[str, list[dict[str, Any]]],
) -> None:
    data, metadata = source
    benchmark = group.split("_")[0]
    for seed in (0, 7):
        tasks = load(group, **metadata, split_seed=seed)
        for row in tables[benchmark]:
            arguments = [data, row["subject"], row["name"], row["file"]]
            arguments += [row["language"] == "en"] if benchmark == "agieval" else []
            expected = [asked.context for asked in getattr(plain_prompts, benchmark)(*arguments, seed=seed)]
            assert contexts(tasks[f"{group}_{row['subject']}"]) == expected


def test_no_shot_is_asked_and_no_two_share_a_passage(data_dir: Path, load: Load) -> None:
    for seed in range(3):
        tasks = load("gaokao_5shot", "agieval_5shot", data_dir=str(data_dir), split_seed=seed)
        for task in tasks.values():
            shots, questions = task.dataset["dev"], task.dataset["test"]
            assert len(shots) == 5
            assert not {shot["prompt"] for shot in shots} & {question["prompt"] for question in questions}
            texts = {(q.get("passage"), q["question"]) for q in questions}
            assert not texts & {(shot.get("passage"), shot["question"]) for shot in shots}
            passages = [shot["passage"] for shot in shots if shot.get("passage")]
            assert len(passages) == len(set(passages))


def test_the_split_does_not_depend_on_the_order_of_rows(small_data: Path, tmp_path: Path, load: Load) -> None:
    turned = tmp_path / "turned"
    shutil.copytree(small_data, turned)
    chance = random.Random(1)  # noqa: S311  # any other order
    for path in (turned / "gaokao-bench").rglob("*.json"):
        content = json.loads(path.read_text("utf-8"))
        chance.shuffle(content["example"])
        path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    for path in (turned / "agieval").rglob("*.jsonl"):
        lines = [line for line in path.read_text("utf-8").split("\n") if line]
        chance.shuffle(lines)
        path.write_text("\n".join(lines), "utf-8")
    for seeds in ({}, {"split_seed": 3}, {"shots_seed": 3}):
        before = load("gaokao_5shot", "agieval_5shot", data_dir=str(small_data), own_data=True, **seeds)
        after = load("gaokao_5shot", "agieval_5shot", data_dir=str(turned), own_data=True, **seeds)
        for name, task in before.items():
            assert sorted(contexts(task)) == sorted(contexts(after[name]))


def test_the_draw_does_not_depend_on_pythons_hashing(small_data: Path) -> None:
    code = (
        "import sys, hashlib\n"
        "from lm_eval.tasks import TaskManager\n"
        "tm = TaskManager(include_path=sys.argv[1], include_defaults=False,\n"
        "                 metadata={'data_dir': sys.argv[2], 'own_data': True, 'shots_seed': 3, 'split_seed': 3})\n"
        "tasks = tm.load(['agieval_5shot_gaokao_english', 'gaokao_5shot_history'])['tasks']\n"
        "[task.build_all_requests() for task in tasks.values()]\n"
        "texts = [request.args[0] for task in tasks.values() for request in task.instances]\n"
        "print(hashlib.sha256(repr(texts).encode()).hexdigest())\n"
    )
    tasks = Path(__file__).resolve().parent.parent.parent / "tasks"
    found = {
        subprocess.run(
            [sys.executable, "-c", code, str(tasks), str(small_data)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_more_shots_than_there_are_is_an_error(small_data: Path, load: Load) -> None:
    (task,) = load("ceval_5shot_law", data_dir=str(small_data), own_data=True).values()
    task.set_config("num_fewshot", 6)
    with pytest.raises(ValueError, match="num_fewshot is 6, but a question of this task has 5 shots"):
        task.build_all_requests()
