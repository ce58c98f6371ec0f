"""lm_eval's names that we lean on are where we look for them."""

from __future__ import annotations

import inspect
import logging
import re
import subprocess
import sys

import lm_eval.api.task
import pytest
from lm_eval import evaluator
from looking_up import check

from lm_eval_baichuan.model_adapters.hosts import Lean
from lm_eval_baichuan.model_adapters.hosts.lm_eval import COMMAND, LEANS, MODELS, TASK_MANAGER, quiet, rolling_windows
from lm_eval_baichuan.startup_bridge import FOLLOWED


@pytest.mark.parametrize("lean", LEANS, ids=lambda lean: lean.where)
def test_a_name_has_not_moved(lean: Lean) -> None:
    check(lean)


def test_the_startup_bridge_follows_the_same_modules() -> None:
    # It imports nothing, this package's files included, so it states their names itself.
    assert set(FOLLOWED) == {COMMAND, MODELS, TASK_MANAGER}


def test_the_names_are_had_without_loading_lm_eval_or_torch() -> None:
    code = (
        "import sys; import lm_eval_baichuan.registration, lm_eval_baichuan.model_adapters.hosts.lm_eval; "
        "print(sorted({'lm_eval', 'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_rolling_windows_score_every_token_once() -> None:
    windows = list(rolling_windows([5, 6, 7, 8, 9], prefix=1, length=3))
    assert [token for _, continuation in windows for token in continuation] == [5, 6, 7, 8, 9]
    assert windows[0] == ([1], [5, 6, 7])
    assert all(len(context) + len(continuation) <= 4 for context, continuation in windows)


def test_the_warning_of_other_shots_is_left_out_for_some_tasks(caplog: pytest.LogCaptureFixture) -> None:
    source = inspect.getsource(evaluator.simple_evaluate)
    (warning,) = re.findall(r'"(Overwriting default num_fewshot [^"]*)",\s*task_name,', source)
    logger = logging.getLogger("lm_eval.evaluator")
    before = [*logger.filters], lm_eval.api.task.tqdm, evaluator.get_git_commit_hash
    quiet({"ours"})
    for task in ("ours", "theirs"):
        logger.warning(warning, task, 5, 3)
    logger.filters[:], lm_eval.api.task.tqdm, evaluator.get_git_commit_hash = before
    assert [record.args[0] for record in caplog.records if record.args] == ["theirs"]
