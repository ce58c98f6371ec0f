"""Intervals, verdicts and what makes a run not comparable."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from results_builder import write_results
from scipy import stats

from lm_eval_baichuan.comparison.command import exit_status
from lm_eval_baichuan.comparison.intervals import Interval, mcnemar, mean_over_subjects, wilson
from lm_eval_baichuan.comparison.outcome import find_outcome
from lm_eval_baichuan.comparison.spread import spreads
from lm_eval_baichuan.comparison.verdicts import Line, compare, judge
from lm_eval_baichuan.published import load_published, published_questions
from lm_eval_baichuan.results import Suite, known_suites, read_runs

PUBLISHED = load_published()


def suite(name: str) -> Suite:
    return next(suite for suite in known_suites() if suite.name == name)


def share(name: str, percent: float, asked: int = 200) -> dict[str, tuple[int, int]]:
    """Every task of a suite with the same share answered right."""
    return dict.fromkeys(suite(name).tasks, (round(percent / 100 * asked), asked))


def lines_of(
    folder: Path, tasks: Mapping[str, tuple[int, int]], against: str = "Baichuan-7B", **options: Any
) -> list[Line]:
    (run,) = read_runs([write_results(folder, tasks, **options)])
    return list(compare(run, PUBLISHED.model(against), PUBLISHED, 0.95).lines)


def average(lines: list[Line]) -> Line:
    return next(line for line in lines if line.part == "average")


def test_wilson_interval_by_its_formula() -> None:
    correct, asked, z = 428, 1000, stats.norm.ppf(0.975)
    share, width = correct / asked, z**2 / asked
    centre = (share + width / 2) / (1 + width)
    half = z * np.sqrt(share * (1 - share) / asked + width / (4 * asked)) / (1 + width)
    interval = wilson(correct, asked, 0.95)
    assert (interval.value, interval.low, interval.high) == pytest.approx(
        (42.8, 100 * (centre - half), 100 * (centre + half))
    )


COUNTS = [(3, 19), (10, 24), (200, 443), (0, 16), (21, 21), (90, 173)]


def test_the_mean_over_subjects_has_the_interval_of_a_stratified_bootstrap() -> None:
    answers = [np.repeat([1.0, 0.0], [correct, asked - correct]) for correct, asked in COUNTS]
    interval = mean_over_subjects(COUNTS, 0.95)
    assert interval.value == pytest.approx(100 * np.mean([subject.mean() for subject in answers]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # strata without variance
        drawn = stats.bootstrap(
            answers,
            lambda *subjects, axis: np.mean([subject.mean(axis=axis) for subject in subjects], axis=0),
            n_resamples=9999,
            batch=500,
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
    assert interval.low == pytest.approx(100 * drawn.low, abs=0.25)
    assert interval.high == pytest.approx(100 * drawn.high, abs=0.25)
    # And of the normal approximation.
    error = np.sqrt(sum((k / n) * (1 - k / n) / n for k, n in COUNTS)) / len(COUNTS)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 100 * error, rel=0.05)


def test_the_interval_of_the_same_counts_is_always_the_same() -> None:
    assert mean_over_subjects(COUNTS, 0.95) == mean_over_subjects(COUNTS, 0.95)


@pytest.mark.parametrize("correct", [0, 10])
def test_nothing_or_everything_right_still_has_an_interval(correct: int) -> None:
    interval = mean_over_subjects([(correct, 10), (correct, 10)], 0.95)
    assert interval.value == 10 * correct
    assert interval.high - interval.low > 10
    assert interval.low <= interval.value <= interval.high


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_the_interval_covers_as_often_as_it_says(confidence: float) -> None:
    draw = np.random.default_rng(0)
    true, asked = np.array([0.3, 0.45, 0.6, 0.8]), np.array([100, 150, 200, 300])
    covered = []
    for _ in range(200):
        correct = draw.binomial(asked, true)
        interval = mean_over_subjects([(int(k), int(n)) for k, n in zip(correct, asked, strict=True)], confidence)
        covered.append(interval.low <= 100 * true.mean() <= interval.high)
    assert np.mean(covered) == pytest.approx(confidence, abs=0.08)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (5, 5), (10, 2), (0, 8), (130, 90)])
def test_mcnemar_is_the_exact_test(first: int, second: int) -> None:
    tail = stats.binom.cdf(min(first, second), first + second, 0.5) if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail))


def test_a_run_like_the_published_one_is_within_sampling_error(tmp_path: Path) -> None:
    line = average(lines_of(tmp_path, share("ceval_5shot", 43)))
    assert (line.verdict, line.reasons) == ("within sampling error", ())
    assert line.ours.value == pytest.approx(43)
    assert line.difference == pytest.approx(0.2)
    assert line.ours.method == "bootstrap"
    assert line.asked == 52 * 200


def test_a_run_far_from_the_published_one_differs(tmp_path: Path) -> None:
    line = average(lines_of(tmp_path, share("ceval_5shot", 38)))
    assert line.verdict == "differs"
    assert line.difference == pytest.approx(-4.8)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (41, 42.26, "within sampling error"),
        (41, 42.24, "differs"),
        (42.34, 43, "within sampling error"),
        (42.36, 43, "differs"),
    ],
)
def test_what_rounding_may_hide_is_granted(low: float, high: float, verdict: str) -> None:
    (figure,) = PUBLISHED.of("Baichuan-7B", "mmlu", "average")
    assert figure.printed == "42.3"
    assert judge(Interval((low + high) / 2, low, high, "Wilson"), figure) == verdict


def test_mmlu_is_averaged_over_questions_and_ceval_over_subjects(tmp_path: Path) -> None:
    for name, expected in (("mmlu_5shot", "questions"), ("ceval_5shot", "subjects")):
        first, *rest = suite(name).tasks
        tasks = {first: (900, 1000)} | dict.fromkeys(rest, (10, 100))
        line = average(lines_of(tmp_path / name, tasks))
        over_questions = 100 * (900 + 10 * len(rest)) / (1000 + 100 * len(rest))
        over_subjects = (90 + 10 * len(rest)) / (1 + len(rest))
        assert line.ours.value == pytest.approx(over_questions if expected == "questions" else over_subjects)
        assert line.ours.method == ("Wilson" if expected == "questions" else "bootstrap")


def test_categories_have_lines_of_their_own(tmp_path: Path) -> None:
    stem = next(part for part in suite("ceval_5shot").parts if part.name == "stem")
    tasks = share("ceval_5shot", 43) | dict.fromkeys(stem.tasks, (70, 200))
    lines = {line.part: line for line in lines_of(tmp_path, tasks)}
    assert set(lines) == {"average", "stem", "hard", "social_science", "humanities", "other"}
    assert lines["stem"].ours.value == pytest.approx(35)
    assert lines["stem"].figure is not None
    assert (lines["stem"].figure.printed, lines["hard"].figure and lines["hard"].figure.printed) == ("38.2", "31.5")
    assert lines["stem"].verdict == "differs"


def test_both_figures_of_sources_that_disagree_have_a_line(tmp_path: Path) -> None:
    lines = [line for line in lines_of(tmp_path, share("gaokao_5shot", 36, 100)) if line.part == "average"]
    assert [line.figure.printed for line in lines if line.figure] == ["36.24", "36.34"]
    assert {line.verdict for line in lines} == {"within sampling error"}
    assert all("never published" in " ".join(line.notes) for line in lines)


CEVAL = "ceval_5shot"
CMMLU = share("cmmlu_5shot", 44)
ARTS = dict(published_questions()["cmmlu_5shot_arts"])


def asked(**changed: str) -> dict[str, Any]:
    """Options of a run that recorded a fingerprint of one task's questions."""
    return {"label_tokens": "bare", "facts": {"questions": {"cmmlu_5shot_arts": ARTS | changed}}}


@pytest.mark.parametrize(
    ("tasks", "options", "reason"),
    [
        (share("ceval_5shot_val", 43), {"split": "val"}, "val split; published on test"),
        (share(CEVAL, 43), {"shots": 0}, "0 shots; published with 5"),
        (share(CEVAL, 43), {"limit": 200, "available": 400}, "--limit 200: 10400 of 20800 questions"),
        (share(CEVAL, 43), {"available": 400}, "chosen samples: 10400 of 20800 questions"),
        (dict(list(share(CEVAL, 43).items())[:3]), {}, "subset: 3 of 52 subjects"),
        (share(CEVAL, 43), {"label_tokens": "joint"}, "label tokens: joint; published isolated"),
        (share("cmmlu_5shot", 44), {"label_tokens": "isolated"}, "label tokens: isolated; published bare"),
        (share(CEVAL, 43), {"model": "hf"}, "label tokens: joint (lm-eval's own, --model hf); published isolated"),
        (
            share(CEVAL, 43),
            {"facts": {"truncated_prompts": {"ceval_5shot_law": 3, "ceval_5shot_logic": 4}}},
            "truncated prompts: 7 were longer than the model's window and lost their beginning: rerun with a larger "
            "max_length, where the model takes that",
        ),
        (share(CEVAL, 43), {"metadata": {"own_data": True}}, "own data (own_data) instead of the published set"),
        (
            CMMLU,
            asked(questions="other"),
            "questions of cmmlu_5shot_arts are not the published ones, by their fingerprints",
        ),
        (CMMLU, asked(shots="other"), "shots of cmmlu_5shot_arts are not the published ones, by their fingerprints"),
        (share(CEVAL, 43), {"extra": {"chat_template": "{{ x }}"}}, "chat template applied; published without"),
        (share(CEVAL, 43), {"extra": {"system_instruction": "Be brief."}}, "a system instruction was added"),
        (
            share(CEVAL, 43),
            {"arguments": {"load_in_4bit": "True"}},
            "quantized (load_in_4bit); the row Baichuan-7B is not",
        ),
        (
            share(CEVAL, 43),
            {"arguments": {"load_in_4bit": "True"}, "facts": {"quantization": "4 bits, gptq"}},
            "quantized (4 bits, gptq); the row Baichuan-7B is not",
        ),
        (share(CEVAL, 43), {"arguments": {"torchao": "int8"}}, "quantized (torchao); the row Baichuan-7B is not"),
    ],
)
def test_what_makes_a_run_not_comparable(
    tmp_path: Path, tasks: dict[str, tuple[int, int]], options: dict[str, Any], reason: str
) -> None:
    if options.get("limit"):
        options = options | {"limit": float(options["limit"])}
    line = average(lines_of(tmp_path, tasks, **options))
    assert line.verdict == "not comparable"
    assert line.reasons == (reason,)
    assert line.difference is not None


@pytest.mark.parametrize("options", [asked(), asked(questions="other", numbers="those of a part")])
def test_the_published_questions_and_those_of_a_part_are_no_obstacle(tmp_path: Path, options: dict[str, Any]) -> None:
    assert average(lines_of(tmp_path, CMMLU, **options)).reasons == ()


def test_a_quantized_row_wants_a_quantized_run(tmp_path: Path) -> None:
    tasks = share(CEVAL, 51)
    plain = average(lines_of(tmp_path / "plain", tasks, against="Baichuan-13B-Base-int8"))
    assert plain.reasons == ("no quantization recorded; the row Baichuan-13B-Base-int8 is int8",)
    eight = average(
        lines_of(tmp_path / "int8", tasks, against="Baichuan-13B-Base-int8", arguments={"load_in_8bit": "True"})
    )
    assert eight.verdict == "within sampling error"
    off = average(lines_of(tmp_path / "off", tasks, arguments={"load_in_8bit": "False"}))
    assert off.reasons == ()


def test_a_chat_row_measured_on_val_takes_a_val_run(tmp_path: Path) -> None:
    line = average(lines_of(tmp_path, share("ceval_5shot_val", 54, 100), against="Baichuan2-7B-Chat", split="val"))
    assert (line.verdict, line.title) == ("within sampling error", "C-Eval (val)")
    assert line.figure is not None
    assert line.figure.split == "val"


def test_a_chat_template_is_no_obstacle_beside_a_chat_row(tmp_path: Path) -> None:
    options: dict[str, Any] = {"against": "Baichuan-13B-Chat", "extra": {"chat_template": "{{ x }}"}}
    line = average(lines_of(tmp_path, share(CEVAL, 51), **options))
    assert line.reasons == ()
    assert "chat template applied; no recipe was published for chat models" in line.notes


def test_tasks_of_different_dtype_make_no_figure_to_compare(tmp_path: Path) -> None:
    import json

    tasks = share(CEVAL, 43)
    write_results(tmp_path, tasks, date="2026-01-01T00-00-00.1")
    later = write_results(tmp_path, {"ceval_5shot_law": (86, 200)}, date="2026-01-02T00-00-00.1")
    data = json.loads(later.read_text(encoding="utf-8"))
    data["config"]["model_dtype"] = "torch.float16"
    later.write_text(json.dumps(data), encoding="utf-8")
    (run,) = read_runs([tmp_path])
    line = average(list(compare(run, None, PUBLISHED, 0.95).lines))
    assert line.reasons == ("dtype differs from task to task: bfloat16, float16",)


def test_the_row_is_the_one_the_model_is_called_after(tmp_path: Path) -> None:
    (run,) = read_runs([write_results(tmp_path, share(CEVAL, 54), pretrained="baichuan-inc/Baichuan2-7B-Base")])
    found = compare(run, None, PUBLISHED, 0.95)
    assert found.row is not None
    assert found.row.name == "Baichuan2-7B-Base"


def test_without_a_row_ours_is_shown_all_the_same(tmp_path: Path) -> None:
    (run,) = read_runs([write_results(tmp_path, share(CEVAL, 43), pretrained="someone/finetune")])
    found = compare(run, None, PUBLISHED, 0.95)
    assert found.row is None
    assert {line.verdict for line in found.lines} == {"above chance"}
    assert average(list(found.lines)).ours.value == pytest.approx(43)


def test_a_benchmark_of_our_own_has_no_published_figure(tmp_path: Path) -> None:
    line = average(lines_of(tmp_path, share("demo_5shot", 80, 50)))
    assert (line.verdict, line.figure) == ("no published figure", None)


@pytest.mark.parametrize("version", [1.0, 1.1])
def test_the_spread_of_seeds(version: float, tmp_path: Path) -> None:
    for seed, percent in enumerate((42, 43, 46)):
        tasks = share(CEVAL, percent)
        if version == 1.0:
            tasks = {task.replace("5shot", "5shot_shuffled"): counts for task, counts in tasks.items()}
        date = f"2026-01-0{seed + 1}T00-00-00.1"
        write_results(tmp_path, tasks, date=date, metadata={"shots_seed": seed}, version=version)
    write_results(tmp_path, share(CEVAL, 10), date="2026-01-09T00-00-00.1", version=version)
    runs = read_runs([tmp_path])
    (spread,) = spreads([compare(run, None, PUBLISHED, 0.95) for run in runs])
    assert list(spread.values.values()) == pytest.approx([42, 43, 46])
    assert list(spread.values) == [f"Baichuan-7B (shots_seed={seed})" for seed in range(3)]
    assert (spread.mean, spread.deviation) == pytest.approx((np.mean([42, 43, 46]), np.std([42, 43, 46], ddof=1)))
    assert spread.range == pytest.approx((42, 46))


def test_what_seeds_count_differently_is_no_other_condition(tmp_path: Path) -> None:
    tasks = share("agieval_5shot", 34, 100)
    first = next(iter(tasks))
    for seed in (1, 2):
        facts = {
            "shortened_prompts": {first: {"prompts": 100 + seed, "shots": 120}},
            "ties": {first: {"questions": seed, "of": 100}},
        }
        date = f"2026-01-0{seed}T00-00-00.1"
        metadata = {"shots_seed": seed, "split_seed": seed}
        write_results(tmp_path, tasks, date=date, metadata=metadata, facts=facts)
    assert len(spreads([compare(run, None, PUBLISHED, 0.95) for run in read_runs([tmp_path])])) == 1


@pytest.mark.parametrize(
    ("suite_name", "metadata", "reasons"),
    [
        (CEVAL, {"shots_seed": 0}, ["shots_seed=0: shots in a drawn order, not the task's own"]),
        (CEVAL, {"shots_seed": None}, []),
        (CEVAL, {"split_seed": 2}, []),
        ("gaokao_5shot", {"split_seed": 0}, []),
        ("gaokao_5shot", {"split_seed": 2}, ["split_seed=2: other shots and questions than the task's own split"]),
        (
            "agieval_5shot",
            {"shots_seed": 1, "split_seed": 2},
            [
                "shots_seed=1: shots in a drawn order, not the task's own",
                "split_seed=2: other shots and questions than the task's own split",
            ],
        ),
    ],
)
def test_a_run_that_drew_by_a_seed_is_never_taken_for_the_published_order(
    suite_name: str, metadata: dict[str, Any], reasons: list[str], tmp_path: Path
) -> None:
    tasks = share(suite_name, 40, 100)
    (run,) = read_runs([write_results(tmp_path, tasks, metadata=metadata)])
    lines = [line for line in compare(run, None, PUBLISHED, 0.95).lines if line.part == "average"]
    for line in lines:
        assert [reason for reason in line.reasons if "_seed" in reason] == reasons
        assert (line.verdict == "not comparable") == bool(reasons)
    seeds = ", ".join(f"{key}={seed}" for key, seed in metadata.items() if seed or (key, seed) == ("shots_seed", 0))
    assert run.name == f"Baichuan-7B ({seeds})" if seeds else "Baichuan-7B"


@pytest.mark.parametrize(
    ("task", "metadata", "now", "seeds"),
    [
        ("ceval_5shot_shuffled_law", {}, "ceval_5shot_law", "shots_seed=0"),
        ("mmlu_5shot_shuffled_anatomy", {"shots_seed": 4}, "mmlu_5shot_anatomy", "shots_seed=4"),
        ("agieval_5shot_shuffled_sat_en", {"shots_seed": 4}, "agieval_5shot_sat_en", "shots_seed=4, split_seed=4"),
        ("gaokao_5shot_shuffled_physics", {}, "gaokao_5shot_physics", "shots_seed=0"),
        ("gaokao_5shot_physics", {"shots_seed": 4}, "gaokao_5shot_physics", "split_seed=4"),
        ("gaokao_5shot_physics", {"shots_seed": 0}, "gaokao_5shot_physics", ""),
        ("ceval_5shot_law", {"shots_seed": 4}, "ceval_5shot_law", ""),  # version 1.0 ignored it there
    ],
)
def test_what_version_1_0_of_the_tasks_drew_is_read_as_it_was(
    task: str, metadata: dict[str, Any], now: str, seeds: str, tmp_path: Path
) -> None:
    facts = {"truncated_prompts": {task: 7}}
    (run,) = read_runs([write_results(tmp_path, {task: (30, 100)}, metadata=metadata, version=1.0, facts=facts)])
    assert (list(run.tasks), run.tasks[now].draws.words, run.seeds.words) == ([now], seeds, seeds)
    line = average(list(compare(run, None, PUBLISHED, 0.95).lines))
    assert [reason.partition(":")[0] for reason in line.reasons if "_seed" in reason] == (
        seeds and seeds.split(", ") or []
    )
    assert any(reason.startswith("truncated prompts: 7") for reason in line.reasons)  # recorded under the former name
    assert not any("label tokens" in reason for reason in line.reasons)


def test_a_file_with_plain_and_shuffled_tasks_is_two_runs(tmp_path: Path) -> None:
    tasks = {"ceval_5shot_law": (3, 4), "ceval_5shot_shuffled_law": (1, 4)}
    runs = read_runs([write_results(tmp_path, tasks, version=1.0)])
    assert {run.name: run.tasks["ceval_5shot_law"].correct for run in runs} == {
        "Baichuan-7B": 3,
        "Baichuan-7B (shots_seed=0)": 1,
    }


def test_runs_under_other_conditions_have_no_common_spread(tmp_path: Path) -> None:
    paths = [
        write_results(tmp_path / encoding, share(CEVAL, 43), label_tokens=encoding)
        for encoding in ("isolated", "joint")
    ]
    assert spreads([compare(run, None, PUBLISHED, 0.95) for run in read_runs(paths)]) == []


@pytest.mark.parametrize(
    ("percent", "options", "status"),
    [(43, {}, 0), (38, {}, 1), (43, {"shots": 0}, 3), (38, {"shots": 0}, 3), (43, {"pretrained": "own"}, 3)],
)
def test_the_exit_status_tells_matching_from_differing_and_unjudged(
    tmp_path: Path, percent: float, options: dict[str, Any], status: int
) -> None:
    runs = read_runs([write_results(tmp_path, share(CEVAL, percent), **options)])
    assert exit_status(find_outcome(runs, None, 0.95)) == status


def test_matching_one_of_two_published_figures_is_enough(tmp_path: Path) -> None:
    tasks = dict.fromkeys(suite("gaokao_5shot").tasks, (36240 * 10, 1000000))
    runs = read_runs([write_results(tmp_path, tasks)])
    outcome = find_outcome(runs, None, 0.9)
    assert [line.verdict for line in outcome.comparisons[0].lines] == ["within sampling error", "differs"]
    assert exit_status(outcome) == 0
