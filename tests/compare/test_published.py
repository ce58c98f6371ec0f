"""The published tables are complete, name their sources, and agree with themselves where that can be computed."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import pytest

from lm_eval_baichuan.published import PublishedError, load_published
from lm_eval_baichuan.published.tables import parse_published
from lm_eval_baichuan.results import Suite, known_suites

PUBLISHED = load_published()


def suite(name: str) -> Suite:
    return next(suite for suite in known_suites() if suite.name == name)


def parts_of(model: str, benchmark: str) -> dict[str, float]:
    return {figure.part: figure.value for figure in PUBLISHED.of(model, benchmark)}


def weighted(figures: Mapping[str, float], weights: Mapping[str, int]) -> float:
    return sum(figures[part] * weight for part, weight in weights.items()) / sum(weights.values())


@pytest.mark.parametrize("model", ["Baichuan-7B", "Baichuan-13B-Base", "Baichuan-13B-Chat"])
def test_ceval_categories_give_the_published_average(model: str) -> None:
    sizes = {part.name: len(part.tasks) for part in suite("ceval_5shot").parts}
    weights = {part: sizes[part] for part in ("stem", "social_science", "humanities", "other")}
    assert weights == {"stem": 20, "social_science": 10, "humanities": 11, "other": 11}
    figures = parts_of(model, "ceval")
    assert weighted(figures, weights) == pytest.approx(figures["average"], abs=0.05)


@pytest.mark.parametrize("model", ["Baichuan-7B", "Baichuan-13B-Base", "Baichuan-13B-Chat"])
def test_cmmlu_categories_give_the_published_average(model: str) -> None:
    sizes = {part.name: len(part.tasks) for part in suite("cmmlu_5shot").parts}
    weights = {part: sizes[part] for part in ("stem", "social_science", "humanities", "other")}
    assert sum(weights.values()) == 67
    figures = parts_of(model, "cmmlu")
    # Every figure is rounded, the average too, so twice half a unit may lie between them.
    assert weighted(figures, weights) == pytest.approx(parts_printed(model, "cmmlu"), abs=0.1)


def parts_printed(model: str, benchmark: str) -> float:
    """The average of the table that also has the categories."""
    figures = PUBLISHED.of(model, benchmark, "average")
    return next(figure.value for figure in figures if "category" in figure.table)


MMLU_QUESTIONS = {"humanities": 4705, "social_sciences": 3077, "stem": 3018, "other": 3242}


@pytest.mark.parametrize("model", ["Baichuan-7B", "Baichuan-13B-Base", "Baichuan-13B-Chat"])
def test_mmlu_categories_give_the_published_average(model: str) -> None:
    figures = parts_of(model, "mmlu")
    assert weighted(figures, MMLU_QUESTIONS) == pytest.approx(figures["average"], abs=0.1)


def test_mmlu_questions_by_category_are_those_of_the_data(data_dir: Path) -> None:
    counts = {}
    for part in suite("mmlu_5shot").parts[1:]:
        subjects = [task.removeprefix("mmlu_5shot_") for task in part.tasks]
        texts = [(data_dir / "mmlu/test" / f"{subject}_test.csv").read_text(encoding="utf-8") for subject in subjects]
        counts[part.name] = sum(len(list(csv.reader(io.StringIO(text, newline="")))) for text in texts)
    assert counts == MMLU_QUESTIONS


def test_sources_that_disagree_are_both_kept() -> None:
    gaokao = [(figure.printed, figure.document) for figure in PUBLISHED.of("Baichuan-7B", "gaokao")]
    assert sorted(gaokao) == [("36.24", "Baichuan-7B README"), ("36.34", "Baichuan2 README")]
    cmmlu = [(figure.printed, figure.document) for figure in PUBLISHED.of("Baichuan-7B", "cmmlu", "average")]
    assert sorted(cmmlu) == [("44.0", "Baichuan-13B README"), ("44.02", "Baichuan2 README")]


def test_the_five_models_have_the_row_of_the_published_table() -> None:
    expected = {
        "Baichuan-7B": {"42.8", "42.3", "44.02", "44.0", "36.24", "36.34", "34.44", "34.64"},
        "Baichuan-13B-Base": {"52.4", "51.6", "55.3", "49.69", "43.20", "41.34"},
        "Baichuan-13B-Chat": {"51.5", "52.1", "55.8"},
        "Baichuan2-7B-Base": {"54.00", "54.16", "57.07", "47.47", "42.73", "44.46"},
        "Baichuan2-13B-Base": {"58.10", "59.17", "61.97", "54.33", "48.17", "47.40"},
    }
    found = {model: {figure.printed for figure in PUBLISHED.of(model, part="average")} for model in expected}
    assert found == expected


def test_every_figure_says_where_it_stands_and_how_it_was_measured() -> None:
    assert len(PUBLISHED.figures) == 114
    for figure in PUBLISHED.figures:
        assert figure.document in {"Baichuan-7B README", "Baichuan-13B README", "Baichuan2 README"}
        assert figure.table
        assert figure.row == figure.model
        assert figure.protocol
        assert figure.shots == 5
        assert 0 < figure.value < 100


def test_the_chat_models_quantized_table_has_ceval_on_val() -> None:
    splits = {
        (figure.model, figure.benchmark): figure.split
        for figure in PUBLISHED.figures
        if figure.model.startswith("Baichuan2") and "Chat" in figure.model
    }
    assert len(splits) == 12
    assert {split for (_, benchmark), split in splits.items() if benchmark == "ceval"} == {"val"}
    assert {split for (_, benchmark), split in splits.items() if benchmark != "ceval"} == {"test"}


def test_the_parts_of_the_tables_are_those_of_the_tasks() -> None:
    for figure in PUBLISHED.figures:
        if figure.benchmark != "jec_qa":
            parts = {part.name for part in suite(f"{figure.benchmark}_5shot").parts}
            assert figure.part in parts, figure


def test_benchmarks_average_as_published() -> None:
    for name, facts in PUBLISHED.benchmarks.items():
        if facts.averaged_over:
            assert suite(f"{name}_5shot").parts[0].over_questions == (facts.averaged_over == "questions"), name


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("baichuan-inc/Baichuan-7B", "Baichuan-7B"),
        ("/models/baichuan_7b/", "Baichuan-7B"),
        ("Baichuan2-13B-Chat-4bits", "Baichuan2-13B-Chat-4bits"),
        ("someone/baichuan-7b-sft", None),
        ("Baichuan-7B/checkpoint-300", None),
    ],
)
def test_a_row_is_found_by_the_whole_name_only(name: str, row: str | None) -> None:
    found = PUBLISHED.find(name)
    assert (found.name if found else None) == row


def test_an_unknown_row_is_an_error_that_lists_the_rows() -> None:
    with pytest.raises(PublishedError, match=r"'Baichuan-9B'.*Baichuan-7B, Baichuan-13B-Base"):
        PUBLISHED.model("Baichuan-9B")


def test_a_row_of_the_wrong_length_is_refused() -> None:
    table = {"document": "D", "table": "T", "columns": ["ceval/average"], "rows": {"M": ["1.0", "2.0"]}}
    with pytest.raises(ValueError, match="longer"):
        parse_published({"benchmarks": {}, "models": {"M": {"kind": "base"}}, "tables": [table]} | _benchmarks())


def _benchmarks() -> dict[str, object]:
    facts = PUBLISHED.benchmarks["ceval"]
    return {"benchmarks": {"ceval": {key: value for key, value in vars(facts).items() if key != "name"}}}


@pytest.mark.parametrize(("printed", "half_unit"), [("42.8", 0.05), ("44.02", 0.005), ("54.00", 0.005)])
def test_rounding_is_told_from_the_printed_digits(printed: str, half_unit: float) -> None:
    figure = next(figure for figure in PUBLISHED.figures if figure.printed == printed)
    assert figure.half_unit == pytest.approx(half_unit)
