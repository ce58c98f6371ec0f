"""What the results of a task say of it: its source once and not in code, other shots beside the protocol's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Evaluate = Callable[..., dict[str, Any]]


def test_the_source_of_a_loader_is_not_copied(evaluate: Evaluate, small_data: Path) -> None:
    results = evaluate("ceval_5shot_val_law", "demo_5shot_nature", data_dir=str(small_data), own_data=True, limit=1)
    for config in results["configs"].values():
        assert "custom_dataset" not in config
        assert "def load" not in str(config)
    sources = {task: config["metadata"]["questions_from"] for task, config in results["configs"].items()}
    assert sources == {"ceval_5shot_val_law": str(small_data), "demo_5shot_nature": "the task's own folder"}


def test_a_folder_named_by_the_environment_is_recorded_too(
    evaluate: Evaluate, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LM_EVAL_BAICHUAN_DATA", str(small_data))
    (config,) = evaluate("mmlu_5shot_anatomy", own_data=True, limit=1)["configs"].values()
    assert config["metadata"]["questions_from"] == str(small_data)


def test_without_a_folder_the_home_and_its_revision_are_recorded() -> None:
    from lm_eval_baichuan.tasks.ceval_5shot import utils

    file = utils.data_files(subject="law", rows={"dev": 5})["dev"]
    assert utils.questions_from(file, None) == f"ceval/ceval-exam at revision {utils.HUB_REVISION}"


@pytest.mark.parametrize(("asked", "recorded"), [(3, 5), (5, None), (None, None)])
def test_other_shots_are_recorded_beside_the_protocols(
    evaluate: Evaluate, asked: int | None, recorded: int | None
) -> None:
    results = evaluate("demo_5shot_nature", num_fewshot=asked, limit=1)
    (config,) = results["configs"].values()
    assert config["metadata"].get("protocol_num_fewshot") == recorded
    assert results["n-shot"] == {"demo_5shot_nature": asked or 5}
