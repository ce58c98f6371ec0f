"""``lm-eval-baichuan compare`` in each of its formats."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from pathlib import Path

import pytest
from results_builder import write_results, write_samples

from lm_eval_baichuan import cli
from lm_eval_baichuan.results import known_suites

TASKS = {
    suite.name: dict.fromkeys(suite.tasks, (correct, 100))
    for suite, correct in ((s, c) for s in known_suites() for c in (43,))
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_results(tmp_path / "run", TASKS["ceval_5shot"] | TASKS["gaokao_5shot"])


@pytest.fixture
def two_runs(tmp_path: Path) -> list[str]:
    paths = []
    for seed in (1, 2):
        folder = tmp_path / f"run{seed}"
        tasks = dict(list(TASKS["ceval_5shot"].items())[:3])
        write_results(folder, tasks)
        write_samples(folder, tasks, seed=seed, texts=[f"题{n} | <b>*粗*</b> _x_" for n in range(100)])
        paths.append(str(folder))
    return paths


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["compare", *arguments]) == 0
    return capsys.readouterr().out


def test_the_terminal_table(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, str(run))
    assert "Baichuan-7B against Baichuan-7B" in text
    line = next(line.split() for line in text.splitlines() if line.strip().startswith("C-Eval "))
    assert line[:2] == ["C-Eval", "43.00"]
    assert line[3:] == ["42.8", "+0.20", "5200", "within", "sampling", "error"]
    assert "C-Eval: published 42.8: Baichuan-7B README, C-Eval by category, row Baichuan-7B" in " ".join(text.split())
    assert "36.24" in text
    assert "36.34" in text


def test_a_narrow_terminal_cuts_no_figure(two_runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, *two_runs, "--against", "Baichuan-7B")
    assert max(map(len, text.splitlines())) <= 80
    assert "more changed answers: compare --format markdown or json lists all" in " ".join(text.split())


def test_csv_holds_every_figure_with_its_source(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(output(capsys, str(run), "--format", "csv"))))
    by_part = {(row["suite"], row["part"], row["published"]): row for row in rows}
    stem = by_part["ceval_5shot", "stem", "38.2"]
    assert (stem["ours"], stem["difference"], stem["verdict"]) == ("43.0", "4.8", "differs")
    assert (stem["document"], stem["table"], stem["split"]) == ("Baichuan-7B README", "C-Eval by category", "test")
    assert ("gaokao_5shot", "average", "36.24") in by_part
    assert ("gaokao_5shot", "average", "36.34") in by_part


def test_json_holds_lines_spread_and_pairing(two_runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(output(capsys, *two_runs, "--format", "json"))
    assert [run["run"] for run in data["runs"]] == ["Baichuan-7B (run1)", "Baichuan-7B (run2)"]
    average = data["runs"][0]["lines"][0]
    assert average["reasons"] == ["subset: 3 of 52 subjects"]
    assert average["published"] == "42.8"
    assert data["spreads"][0]["standard_deviation"] == 0
    pairing = data["pairing"]
    assert pairing["both_right"] + pairing["only_first"] == 3 * 43
    assert {change["change"] for change in pairing["changes"]} == {"gained", "lost", "wrong"}


def test_markdown_escapes_what_would_be_markup(two_runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, *two_runs, "--format", "markdown")
    rows = [line for line in text.splitlines() if "粗" in line]
    assert rows
    assert all("\\|" in row and "&lt;b>" in row and "\\*粗\\*" in row for row in rows)
    table = text[text.index("### 5-shot accuracy") :]
    assert "| Baichuan-7B (published) " in table
    cells = next(line for line in table.splitlines() if line.startswith("| Baichuan-7B (run1)")).split("|")
    assert [cell.strip() for cell in cells[2:7]] == ["43.00 [a]", "-", "-", "-", "-"]
    assert "- [a] subset: 3 of 52 subjects" in table


def test_latex_is_a_booktabs_table(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, str(run), "--format", "latex")
    assert text.startswith(r"\begin{tabular}{lrrrrr}")
    row = next(line for line in text.splitlines() if line.lstrip().startswith("Baichuan-7B  "))
    assert [cell.strip() for cell in row.rstrip("\\ ").split("&")] == ["Baichuan-7B", "43.00", "-", "-", "43.00", "-"]


def test_latex_escapes_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_results(tmp_path, TASKS["ceval_5shot"], pretrained="me/my_model_100%")
    assert r"my\_model\_100\%" in output(capsys, str(path), "--format", "latex")


def test_output_goes_to_a_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.md"
    assert output(capsys, str(run), "--format", "markdown", "-o", str(target)) == ""
    assert target.read_text(encoding="utf-8").startswith("### Baichuan-7B against Baichuan-7B")


def test_fail_outside_sets_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    within = str(write_results(tmp_path / "within", TASKS["ceval_5shot"]))
    outside = str(write_results(tmp_path / "outside", dict.fromkeys(TASKS["ceval_5shot"], (30, 100))))
    subset = str(write_results(tmp_path / "subset", {"ceval_5shot_law": (43, 100)}))
    assert cli.main(["compare", within, "--fail-outside"]) == 0
    assert cli.main(["compare", outside, "--fail-outside"]) == 1
    assert cli.main(["compare", within, outside, "--fail-outside"]) == 1
    assert cli.main(["compare", subset, "--fail-outside"]) == 3
    assert cli.main(["compare", outside]) == 0


def test_a_file_that_was_cut_off_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    within = write_results(tmp_path / "within", TASKS["ceval_5shot"])
    newer = within.with_name("results_2099-01-02T00-00-00.1.json")
    newer.write_bytes(within.read_bytes()[:-100])
    assert cli.main(["compare", str(within.parent), "--fail-outside"]) == 3
    assert cli.main(["compare", str(within.parent)]) == 0
    newer.unlink()
    assert cli.main(["compare", str(within.parent), "--fail-outside"]) == 0


def test_errors_are_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Path) -> None:
    assert cli.main(["compare", str(tmp_path / "nowhere")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert cli.main(["compare", str(run), "--against", "Baichuan-9B"]) == 2
    assert "The rows are: Baichuan-7B" in capsys.readouterr().err


def test_a_missing_library_is_named_with_its_extra(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "rich" else real(name))
    assert cli.main(["compare", str(run)]) == 2
    assert "rich not installed" in (message := capsys.readouterr().err)
    assert "pip install 'lm-eval-baichuan[report]'" in message


@pytest.mark.parametrize("confidence", ["0", "1", "95"])
def test_a_confidence_that_is_no_share_is_refused(
    run: Path, confidence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["compare", str(run), "--confidence", confidence])
    assert "is not between 0 and 1" in capsys.readouterr().err
