"""Every sentence has its Chinese, with the same values in it, and says what the English says where it is shown."""

from __future__ import annotations

import copy
import json
import pickle
import re
import string
from pathlib import Path

import pytest
from language_forms import forms, not_written_out
from results_builder import write_results, write_samples

import lm_eval_baichuan
from lm_eval_baichuan import cli
from lm_eval_baichuan.comparison.outcome import find_outcome
from lm_eval_baichuan.comparison.verdicts import WITHIN
from lm_eval_baichuan.languages import ENGLISH, LANGUAGES, Sentence, Translator, catalogue, joined, say
from lm_eval_baichuan.results import read_runs

CHINESE = catalogue("zh")
ZH = Translator("zh")
LAW, LOGIC = "ceval_5shot_law", "ceval_5shot_logic"


def fields(form: str) -> set[tuple[str, str]]:
    return {(name, spec or "") for _, name, spec, _ in string.Formatter().parse(form) if name}


def test_every_form_has_its_chinese_and_no_chinese_is_left_over() -> None:
    said = {form for form in forms() if re.search("[A-Za-z]", form) or form.strip()}
    assert len(said) > 200
    missing = {form: where for form, where in forms().items() if form in said and form not in CHINESE}
    assert missing == {}
    assert set(CHINESE) - said == set()


@pytest.mark.parametrize("form", CHINESE)
def test_a_translation_has_the_values_of_its_form_in_the_same_shape(form: str) -> None:
    assert fields(form) == fields(CHINESE[form])


def test_every_form_is_written_out_where_it_is_said() -> None:
    assert not_written_out() == []


def test_no_translation_is_written_twice() -> None:
    file = Path(lm_eval_baichuan.__file__).parent / "languages" / "zh.json"
    pairs = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=list)
    written = [form for _, group in pairs for form, _ in group]
    assert len(written) == len(set(written)) == len(CHINESE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_its_file(language: str) -> None:
    assert bool(catalogue(language)) == (language != "en")


def test_a_sentence_is_its_english_until_another_language_is_asked_for() -> None:
    inner = say("{n} shots", n=5)
    sentence = say("{said}; {of} {shots}", said=inner, of=say("published with"), shots=3)
    assert sentence == "5 shots; published with 3"
    assert ENGLISH.shown(sentence) == "5 shots; published with 3"
    assert ZH.shown(sentence) == "5 个示例；公布值使用 3 个"
    assert ZH("{n} shots", n=2) == "2 个示例"
    assert json.dumps({sentence: sentence}) == json.dumps({str(sentence): str(sentence)})
    assert {str(sentence): 1}[sentence] == 1


def test_joined_texts_are_translated_each_for_itself() -> None:
    both = joined(" and ", ("法学", say("best")))
    assert both == "法学 and best"
    assert ZH.shown(both) == "法学、最佳"


def test_text_that_is_no_sentence_stays_as_it_is() -> None:
    assert ZH.shown("best") == "best"  # a model may be called so
    assert ZH.shown(say("{run} right", run="best")) == "best 答对"
    assert say("a {brace") == "a {brace"


@pytest.mark.parametrize("again", [copy.deepcopy, copy.copy, lambda one: pickle.loads(pickle.dumps(one))])  # noqa: S301
def test_a_copy_is_a_sentence_still(again: object) -> None:
    for one in (WITHIN, say("{n} shots", n=5), joined("; ", (say("best"), "x"))):
        other = again(one)  # type: ignore[operator]
        assert isinstance(other, Sentence)
        assert ZH.shown(other) == ZH.shown(one) != str(one)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tasks = {LAW: (20, 60), LOGIC: (30, 60)}
    arguments = {"load_in_8bit": True}
    write_results(tmp_path / "run", tasks, limit=60, available=200, split="val", shots=3, arguments=arguments)
    write_samples(tmp_path / "run", tasks)
    return tmp_path / "run"


NAMES = re.compile(
    r"Baichuan\S*|README|C-Eval|MMLU|CMMLU|Gaokao|AGIEval|evaluate_zh\.py|\bval\b|\btest\b|load_in_8bit|bfloat16"
    r"|--limit|5-shot|\bn\b|limit|dev rows as shots.*|by category|row"
)


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
def test_compare_speaks_chinese(folder: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(folder), "--lang", "zh", "--format", form]) == 0
    shown = capsys.readouterr().out
    assert "limit 60：400 题中的 120 题" in shown.replace("\n", "")
    assert "val 划分；公布值在 test 上" in shown.replace("\n", "")
    if form != "latex":
        assert "不可比" in shown
        assert "人文学科" in shown
        for english in ("not comparable", "benchmark", "Humanities", "published", "split;", "verified"):
            assert english not in shown


def test_no_figure_is_cut_in_a_terminal_of_eighty_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for step, right in ((100, 10), (200, 30), (300, 20)):
        folder, tasks = tmp_path / f"{step}", {LAW: (right, 40)}
        write_results(folder, tasks, pretrained=f"mine/step{step}", available=100, limit=40)
        write_samples(folder, tasks, seed=step)
    assert cli.main(["compare", str(tmp_path), "--lang", "zh"]) == 0
    shown = capsys.readouterr().out
    for figure in ("25.00 [a,b,c]", "75.00", "+50.00", "-25.00", "有差异", "40/100"):
        assert figure in shown
    assert "…" not in shown


@pytest.mark.parametrize("form", ["csv", "json"])
def test_what_programs_read_is_the_same_in_every_language(
    folder: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["compare", str(folder), "--format", form])
    english = capsys.readouterr().out
    cli.main(["compare", str(folder), "--format", form, "--lang", "zh"])
    assert capsys.readouterr().out == english


def test_a_language_that_is_not_there_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["compare", str(folder), "--lang", "fr"])
    assert "choose from" in capsys.readouterr().err


def test_conditions_of_real_runs_leave_no_english_sentence(folder: Path) -> None:
    """Whatever is said of these runs is said by forms that were translated."""
    outcome = find_outcome(read_runs([folder]), "Baichuan-7B", 0.95)
    shown = {ZH.shown(condition.text) for line in outcome.comparisons[0].lines for condition in line.found}
    assert len(shown) > 4
    for text in shown:
        assert not re.search(r"[a-z]{3,} [a-z]{2,}", NAMES.sub("", text)), text


def test_the_page_speaks_chinese(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert cli.main(["report", str(folder), "--lang", "zh", "-o", str(page), "--against", "Baichuan-7B"]) == 0
    text = page.read_text(encoding="utf-8")
    assert '<html lang="zh">' in text
    for chinese in ("摘要", "不可比", "期望校准误差", "随机水平 25 %", "人文学科", "下一页"):
        assert chinese in text
    body = re.sub(r"<script.*?</script>|<style.*?</style>|<pre.*?</pre>|<[^>]*>", " ", text, flags=re.DOTALL)
    for english in ("Summary", "not comparable", "Humanities", "questions", "Certificate", "confidence", "next page"):
        assert english not in body
