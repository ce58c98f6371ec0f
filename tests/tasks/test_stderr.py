"""What the stock command shows on stderr: no warning where nothing is wrong, and one line when it is stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

NOTICE = re.compile(r"\d{4}-\d\d-\d\d:\d\d:\d\d:\d\d INFO ")
BAR = re.compile(r"(Scoring|Loading weights): +\d+%\|")
OF_LIMIT = "--limit SHOULD ONLY BE USED FOR TESTING. REAL METRICS SHOULD NOT BE COMPUTED USING LIMIT."


def start(folder: Path, model_args: str, task: str, *arguments: str) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "lm_eval", "--model", "baichuan", "--model_args", model_args, "--tasks", task]
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
        return subprocess.Popen(
            [*line, *arguments],
            stdout=out,
            stderr=err,
            env=environment,
            cwd=folder,
            # a shell starts what it puts in the background deaf to Ctrl-C
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
        )


def run(folder: Path, *arguments: str) -> str:
    """What a run that ends well prints."""
    assert start(folder, *arguments).wait(timeout=300) == 0, lines(folder)
    return (folder / "stdout").read_text("utf-8")


def lines(folder: Path) -> list[str]:
    return [line for line in re.split(r"[\r\n]+", (folder / "stderr").read_text("utf-8")) if line.strip()]


def shown(folder: Path) -> list[str]:
    """What is neither a notice of lm-eval's nor a bar."""
    return [line for line in lines(folder) if not NOTICE.match(line) and not BAR.match(line)]


def test_the_demo_warns_of_nothing_and_says_what_it_means(tmp_path: Path) -> None:
    out = run(tmp_path, "pretrained=demo", "demo_5shot")
    assert shown(tmp_path) == []
    *_, last = (line for line in lines(tmp_path) if line.startswith("Scoring"))
    pattern = r"Scoring: 100%\|█+\| 240/240 questions \[\d+:\d+, \d+ tokens/s, \d+% of tokens saved, \d+:\d+ left\]"
    assert re.fullmatch(pattern, last)
    table, meaning = out.split("\ndemo answers every question, acc 1.0, where")
    assert re.search(r"\|demo_5shot *\|.*\|acc *\|.*\| +1\|", table)
    assert "lm_eval --model baichuan --model_args pretrained=FOLDER --tasks ceval_5shot_val" in meaning


@pytest.mark.parametrize("option", ["load_in_8bit=true", "torchao=int8"])
def test_a_quantized_run_warns_of_nothing(tmp_path: Path, option: str) -> None:
    pytest.importorskip({"load": "bitsandbytes"}.get(option[:4], "torchao"))
    run(tmp_path, f"pretrained=demo,{option}", "demo_5shot_nature", "--device", "cpu")
    assert shown(tmp_path) == []


def test_52_subjects_warn_of_nothing_but_the_limit(tmp_path: Path, small_data: Path) -> None:
    metadata = f"data_dir={small_data},own_data=true"
    run(tmp_path, "pretrained=demo", "ceval_5shot_val", "--metadata", metadata, "--limit", "1")
    (warning,) = shown(tmp_path)
    assert warning.endswith(OF_LIMIT)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_what_is_kept_and_goes_on(tmp_path: Path, number: signal.Signals, status: int) -> None:
    kept_in = ("demo_5shot", "--use_cache", "answers")
    process = start(tmp_path, "pretrained=demo,token_budget=2", *kept_in)
    while process.poll() is None and not any(re.search(r" [1-9]\d*/240", each) for each in lines(tmp_path)):
        time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(timeout=100) == status
    name = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}[number]
    (said,) = shown(tmp_path)
    kept = re.fullmatch(
        rf"lm_eval: stopped by {name}\. (\d+) answers are kept in answers_rank0\.db; the same command goes on from "
        "there\\.",
        said,
    )
    assert kept and 0 < int(kept[1]) < 960
    assert re.search(r"\|demo_5shot *\|.*\| +1\|", run(tmp_path, "pretrained=demo", *kept_in))
    totals = {
        int(found[1]) for found in map(re.compile(r"Scoring: .*/(\d+) questions").match, lines(tmp_path)) if found
    }
    assert totals and max(totals) <= 240 - int(kept[1]) // 4


def test_the_plan_of_a_checkpoint_warns_of_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lm_eval_baichuan.cli", "plan", "pretrained=demo"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
