"""What a figure is not stands beside it in every form: no partial run passes for a whole one."""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from results_builder import write_results, write_samples

from lm_eval_baichuan import cli, compare
from lm_eval_baichuan.comparison.command import FORMATS
from lm_eval_baichuan.comparison.conditions import own_benchmark
from lm_eval_baichuan.comparison.outcome import Outcome, find_outcome
from lm_eval_baichuan.comparison.shown import Compared
from lm_eval_baichuan.comparison.spread import spreads
from lm_eval_baichuan.comparison.verdicts import what_they_are_not
from lm_eval_baichuan.results import known_suites, read_runs

SUITES = {suite.name: suite for suite in known_suites()}
OWN = "me/my-finetune"


def tasks_of(suite: str, number: int | None = None) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(SUITES[suite].tasks[:number], (9, 20))


def without_shots(data: dict[str, Any]) -> None:
    del data["n-shot"]
    for config in data["configs"].values():
        del config["num_fewshot"]


def without_split(data: dict[str, Any]) -> None:
    for config in data["configs"].values():
        del config["test_split"]


@dataclass
class Partial:
    """A run that is not the published measure, and the words that say so."""

    words: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, tuple[int, int]] = field(default_factory=lambda: tasks_of("ceval_5shot"))
    edit: Callable[[dict[str, Any]], None] | None = None
    published_measure: bool = False
    """Whether it is the published measure all the same."""

    def write(self, folder: Path, **options: Any) -> Path:
        path = write_results(folder, self.tasks, **{"pretrained": OWN, **self.options, **options})
        if self.edit:
            data = json.loads(path.read_text(encoding="utf-8"))
            self.edit(data)
            path.write_text(json.dumps(data), encoding="utf-8")
        return path


TIES = {task: {"questions": 20, "of": 20} for task in SUITES["ceval_5shot"].tasks}
OTHER_QUESTIONS = {"questions": {"cmmlu_5shot_arts": {"asked": 20, "numbers": "x", "questions": "y", "shots": "z"}}}
PARTIAL = {
    "split": Partial("val split", {"split": "val"}, tasks_of("ceval_5shot_val")),
    "limit": Partial("--limit 20: 1040 of 2600 questions", {"limit": 20.0, "available": 50}),
    "samples": Partial("chosen samples: 1040 of 2600 questions", {"available": 50}),
    "subjects": Partial("3 of 52 subjects", tasks=tasks_of("ceval_5shot", 3)),
    "fingerprints": Partial(
        "shots not the published ones", {"label_tokens": "bare", "facts": OTHER_QUESTIONS}, tasks_of("cmmlu_5shot")
    ),
    "own data": Partial("own data", {"metadata": {"own_data": True}}),
    "shots": Partial("3 shots", {"shots": 3}),
    "shots unknown": Partial("shots not recorded", edit=without_shots),
    "shots_seed": Partial("shots_seed=1", {"metadata": {"shots_seed": 1}}),
    "split_seed": Partial("split_seed=1", {"metadata": {"split_seed": 1}}, tasks_of("gaokao_5shot")),
    "split unknown": Partial("not recorded split", edit=without_split),
    "label tokens": Partial("label tokens joint", {"label_tokens": "joint"}),
    "label tokens unknown": Partial("label tokens not recorded", {"facts": {"label_tokens": {}}}),
    "system": Partial("system instruction", {"extra": {"system_instruction": "Be brief."}}),
    "cut prompts": Partial("truncated prompts", {"facts": {"truncated_prompts": {"ceval_5shot_law": 3}}}),
    "no certificate": Partial("no certificate", {"facts": {"verified": "self_check=false"}}, published_measure=True),
    "another model": Partial("no certificate", {"model": "hf"}),
    "chat": Partial("chat template", {"extra": {"chat_template": "{{ x }}"}}, published_measure=True),
    "quantized": Partial("quantized", {"arguments": {"load_in_4bit": "True"}}, published_measure=True),
    "ties": Partial("no measurement", {"facts": {"ties": TIES}}),
}


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


def plain(text: str) -> str:
    """A text without line breaks and what Markdown and LaTeX escape."""
    return " ".join(text.replace("\\", "").replace("-{}-", "--").split())


def shown(capsys: pytest.CaptureFixture[str], form: str, *arguments: Path | str) -> str:
    assert cli.main(["compare", *map(str, arguments), "--format", form]) == 0
    return plain(capsys.readouterr().out)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str | None], Outcome]:
    """What is found of each partial run, once for all forms."""

    @functools.cache
    def find(name: str, against: str | None = None) -> Outcome:
        return outcome_of(PARTIAL[name].write(tmp_path_factory.mktemp("partial")), against=against)

    return find


Found = Callable[..., Outcome]


@pytest.mark.parametrize("form", [*FORMATS, "repr", "html"])
@pytest.mark.parametrize("name", PARTIAL)
@pytest.mark.parametrize("against", [None, "Baichuan-7B"])
def test_every_form_says_what_a_figure_is_not(found: Found, name: str, form: str, against: str | None) -> None:
    outcome = found(name, against)
    forms = {"repr": lambda found: repr(Compared(found)), "html": lambda found: Compared(found)._repr_html_()}
    text = plain((FORMATS | forms)[form](outcome))
    words = PARTIAL[name].words
    if form not in ("csv", "json"):  # a footnote has the long form
        words = words.replace("tokens ", "tokens: ").replace("shots not the", "shots of cmmlu_5shot_arts are not the")
    assert words in text


@pytest.mark.parametrize("name", PARTIAL)
def test_every_average_and_category_carries_it(found: Found, name: str) -> None:
    outcome = found(name)
    lines = [line for run in outcome.comparisons for line in run.lines]
    words = PARTIAL[name].words.partition(":")[0]
    words = "subjects" if "subjects" in words else words
    parts = {line.part for line in lines if any(words in caveat.short for caveat in line.caveats)}
    of_one_task = {"cut prompts": {"average", "humanities"}, "fingerprints": {"average", "humanities"}}
    assert parts == of_one_task.get(name, {line.part for line in lines})
    table = plain(FORMATS["markdown"](outcome)).partition("- [a]")[0]
    assert table.count("[a") == len(parts)
    assert PARTIAL[name].words in " ".join(what_they_are_not(lines))


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
@pytest.mark.parametrize("name", PARTIAL)
def test_a_row_that_is_not_the_published_measure_is_labelled_so(found: Found, name: str, form: str) -> None:
    labelled = "(not the published measure)" in plain(FORMATS[form](found(name)))
    assert labelled != PARTIAL[name].published_measure


def test_the_page_has_the_marks_and_what_they_mean(tmp_path: Path) -> None:
    path = PARTIAL["limit"].write(tmp_path)
    page = tmp_path / "page.html"
    assert cli.main(["report", str(path), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "45.00 [a]" in text
    assert "[a] --limit 20: 1040 of 2600 questions" in text


def outcome_of(*paths: Path, against: str | None = None) -> Outcome:
    return find_outcome(read_runs(paths), against, 0.95)


def test_a_whole_run_carries_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_results(tmp_path, tasks_of("ceval_5shot"), pretrained=OWN)
    assert [line.caveats for line in outcome_of(path).comparisons[0].lines] == [()] * 6
    text = shown(capsys, "markdown", path)
    assert "[a]" not in text
    assert "not the published" not in text


UNEQUAL = {
    "certificate": ({"facts": {"verified": "self_check=false"}}, "not checked alike", "checked unlike the others"),
    "dtype": ({"dtype": "torch.float32"}, "dtype float32; beside it bfloat16", "dtype float32"),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", UNEQUAL)
def test_runs_made_otherwise_than_those_beside_them_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, form: str
) -> None:
    options, long, short = UNEQUAL[name]
    first = write_results(tmp_path / "a", tasks_of("ceval_5shot"), pretrained="me/a")
    dtype = options.get("dtype")
    second = write_results(tmp_path / "b", tasks_of("ceval_5shot"), pretrained="me/b", facts=options.get("facts"))
    if dtype:
        data = json.loads(second.read_text(encoding="utf-8"))
        data["config"]["model_dtype"] = dtype
        second.write_text(json.dumps(data), encoding="utf-8")
    if (form, name) != ("latex", "dtype"):  # the papers' row sets its models beside published ones of unknown dtype
        assert (short if form in ("csv", "json") else long) in shown(capsys, form, first, second)


def test_runs_of_other_questions_than_the_first_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for name, digest in (("a", "x"), ("b", "x"), ("c", "y")):
        recorded = {"asked": 20, "numbers": "0to19", "questions": digest, "shots": "s"}
        facts = {"questions": {"ceval_5shot_val_law": recorded}}
        tasks = tasks_of("ceval_5shot_val")
        paths.append(write_results(tmp_path / name, tasks, pretrained=f"me/{name}", split="val", facts=facts))
    text = shown(capsys, "markdown", *paths)
    assert "by the fingerprints in the results, the questions of ceval_5shot_val_law are not those of a" in text
    assert shown(capsys, "csv", *paths).count("other questions than a") == len(SUITES["ceval_5shot_val"].parts)


def test_a_published_row_measured_on_another_split_is_marked_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = PARTIAL["split"].write(tmp_path)
    text = shown(capsys, "latex", path, "--against", "Baichuan2-7B-Chat")
    assert "54.35textsuperscript{a}" in text
    assert "textsuperscript{a} published on the val split; most rows on test" in text


def test_marks_are_explained_in_latex_where_the_reader_sees_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = PARTIAL["limit"].write(tmp_path, pretrained="me/a_b")
    assert cli.main(["compare", str(path), "--format", "latex"]) == 0
    text = capsys.readouterr().out
    assert r"45.00\textsuperscript{a}" in text
    seen = [line for line in text.splitlines() if not line.startswith("%")]
    assert r"\textsuperscript{a} -{}-limit 20: 1040 of 2600 questions" in seen


def test_csv_counts_the_questions_asked_and_those_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(PARTIAL["limit"].write(tmp_path)), "--format", "csv"]) == 0
    (row, *_) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["questions"], row["available"]) == ("1040", "2600")
    assert row["caveats"] == "'--limit 20: 1040 of 2600 questions"  # no formula to a spreadsheet
    assert row["verdict"] == row["against_chance"] == "above chance"


def test_without_a_row_conditions_keep_runs_apart(tmp_path: Path) -> None:
    paths = [
        PARTIAL["shots"].write(tmp_path / "a", shots=shots, date=f"2026-01-0{shots}T00-00-00.1") for shots in (1, 2)
    ]
    assert spreads(outcome_of(*paths).comparisons) == []


def test_other_subjects_are_no_spread(tmp_path: Path) -> None:
    tasks = list(tasks_of("ceval_5shot").items())
    paths = [
        write_results(tmp_path / str(n), dict(tasks[n : n + 2]), pretrained=OWN, date=f"2026-01-0{n}T00-00-00.1")
        for n in (1, 5)
    ]
    assert spreads(outcome_of(*paths).comparisons) == []


def test_revisions_of_a_model_are_runs_of_their_own(tmp_path: Path) -> None:
    for number, revision in enumerate(("step1000", "step2000", "main"), start=1):
        write_results(
            tmp_path, tasks_of("ceval_5shot"), arguments={"revision": revision}, date=f"2026-01-0{number}T00-00-00.1"
        )
    names = [run.name for run in read_runs([tmp_path])]
    assert names == ["Baichuan-7B (revision=step1000)", "Baichuan-7B (revision=step2000)", "Baichuan-7B"]


def test_the_demos_own_protocol_counts_where_none_was_published(tmp_path: Path) -> None:
    metadata = {"protocol": {"label_tokens": "isolated"}}
    path = write_results(tmp_path, tasks_of("demo_5shot"), label_tokens="joint", shots=2, metadata=metadata)
    (run,) = read_runs([path])
    assert own_benchmark(SUITES["demo_5shot"], list(run.tasks.values())).shots == 5
    text = repr(compare(path))
    assert "2 shots; the tasks have 5" in text
    assert "label tokens: joint; the tasks have isolated" in text


def test_no_row_is_offered_of_what_was_never_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_results(tmp_path, tasks_of("demo_5shot"), pretrained=OWN)
    write_samples(tmp_path, tasks_of("demo_5shot"))
    text = shown(capsys, "markdown", path)
    assert "5-shot accuracy" not in text
    assert "| demo | 45.00 |" in " ".join(text.split())
