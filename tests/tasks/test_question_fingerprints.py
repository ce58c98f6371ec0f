"""A run over the true data records the fingerprints that the package has of the published questions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lm_eval_baichuan.model_adapters.lm.asked_questions import AskedQuestions
from lm_eval_baichuan.published import published_questions

TASKS = ["mmlu_5shot_anatomy", "cmmlu_5shot_arts", "gaokao_5shot_biology", "agieval_5shot_sat_math"]


def asked(task: Any, **options: Any) -> dict[str, Any]:
    """What a run of a task records."""
    task.set_fewshot_seed(1234)
    task.build_all_requests(limit=None, rank=0, world_size=1, **options)
    questions = AskedQuestions()
    questions.note(task.instances)
    told: dict[str, Any] = questions.as_dict()[task.config.task]
    return told


@pytest.mark.parametrize("name", TASKS)
def test_the_true_questions_have_the_published_fingerprint(
    name: str, data_dir: Path, load: Callable[..., dict[str, Any]]
) -> None:
    published = published_questions()[name]
    assert asked(load(name, data_dir=str(data_dir))[name]) == published
    drawn = asked(load(name, data_dir=str(data_dir), shots_seed=3)[name])
    assert drawn == published  # the same shots in another order


def test_one_changed_answer_gives_another(data_dir: Path, tmp_path: Path, load: Callable[..., dict[str, Any]]) -> None:
    for split in ("dev", "test"):
        path = tmp_path / "cmmlu" / split / "arts.csv"
        path.parent.mkdir(parents=True)
        path.write_bytes((data_dir / "cmmlu" / split / "arts.csv").read_bytes())
    content = path.read_text("utf-8-sig").rstrip()
    changed = content[:-1] + ("A" if content[-1] != "A" else "B")  # the last question's answer
    path.write_text(changed + "\n", "utf-8")
    published = published_questions()["cmmlu_5shot_arts"]
    found = asked(load("cmmlu_5shot_arts", data_dir=str(tmp_path))["cmmlu_5shot_arts"])
    assert found["questions"] != published["questions"]
    assert {**found, "questions": published["questions"]} == published
