"""What a run checked before it scored is shown with it, and runs that were not checked alike say so."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from results_builder import VERIFIED, write_results

from lm_eval_baichuan import cli
from lm_eval_baichuan.comparison.tables import certificate_line, unequal_certificates
from lm_eval_baichuan.comparison.verdicts import Comparison, compare
from lm_eval_baichuan.published import load_published
from lm_eval_baichuan.results import ResultsError, read_runs

LAW, LOGIC = "ceval_5shot_law", "ceval_5shot_logic"
SWITCHED_OFF = "switched off by self_check=false"
UNEQUAL = "These runs were not checked alike, so a difference between their scores may lie in how they scored"


def write(folder: Path, verified: Any, **options: Any) -> Path:
    return write_results(folder, {LAW: (10, 40)}, facts={"verified": verified}, **options)


def comparisons_of(*paths: Path) -> list[Comparison]:
    return [compare(run, None, load_published(), 0.95) for run in read_runs(paths)]


@pytest.mark.parametrize(
    ("verified", "words"),
    [
        (VERIFIED, "verified: 12 requests, largest difference 3.1e-06 nats (bound 0.001)"),
        (
            VERIFIED | {"generation": {"steps": 8, "largest_difference": 0.0, "bound": 0.02}},
            "verified: 12 requests, largest difference 3.1e-06 nats (bound 0.001); 8 steps of generation, largest "
            "difference 0 nats (bound 0.02)",
        ),
        (
            VERIFIED | {"scores": "not possible: one request at a time ran out of memory"},
            "verified: 12 requests, largest difference 3.1e-06 nats (bound 0.001); in part not possible: one request "
            "at a time ran out of memory",
        ),
        (
            {"generation": {"steps": 8, "largest_difference": 0.0, "bound": 0.02}},
            "no certificate: nothing was scored; generation verified: 8 steps of generation, largest difference 0 nats "
            "(bound 0.02)",
        ),
        (SWITCHED_OFF, "no certificate: switched off by self_check=false"),
        (None, "no certificate: not recorded by the version that wrote the file"),
    ],
)
def test_the_certificate_in_words(tmp_path: Path, verified: Any, words: str) -> None:
    (comparison,) = comparisons_of(write(tmp_path, verified))
    assert certificate_line(comparison) == words


def test_what_the_adapter_records_is_what_is_read(tmp_path: Path) -> None:
    from lm_eval_baichuan.model_adapters.lm.run_facts import RunFacts
    from lm_eval_baichuan.model_adapters.trie_scorer import Certificate

    for facts, words in (
        (RunFacts(scores_verified=Certificate(7, 1e-5, 1e-3)), "verified: 7 requests, largest difference 1e-05 nats"),
        (
            RunFacts(generation_verified=Certificate(8, 1e-5, 1e-3)),
            "no certificate: nothing was scored; generation ver",
        ),
        (RunFacts(unverified=SWITCHED_OFF), f"no certificate: {SWITCHED_OFF}"),
        (RunFacts(), "no certificate: nothing was scored"),
    ):
        recorded = json.loads(json.dumps(facts.as_dict()))["verified"]
        (comparison,) = comparisons_of(write(tmp_path, recorded))
        assert certificate_line(comparison).startswith(words)


def test_another_model_makes_none(tmp_path: Path) -> None:
    (comparison,) = comparisons_of(write(tmp_path, None, model="hf"))
    assert certificate_line(comparison) == "no certificate: --model hf makes none"


def test_a_run_of_several_files_has_their_certificates(tmp_path: Path) -> None:
    write(tmp_path, VERIFIED, date="2026-01-01T00-00-00.1")
    other = {"requests": 5, "largest_difference": 2e-5, "bound": 1e-3}
    write_results(tmp_path, {LOGIC: (1, 8)}, date="2026-01-02T00-00-00.1", facts={"verified": other})
    (comparison,) = comparisons_of(tmp_path)
    assert certificate_line(comparison) == "verified: 17 requests, largest difference 2e-05 nats (bound 0.001)"
    later = write_results(tmp_path, {LOGIC: (1, 8)}, date="2026-01-03T00-00-00.1", facts={"verified": SWITCHED_OFF})
    assert later.is_file()
    (comparison,) = comparisons_of(tmp_path)
    assert certificate_line(comparison) == (
        "1 of 2 tasks verified: 12 requests, largest difference 3.1e-06 nats (bound 0.001); "
        f"1 of 2 tasks no certificate: {SWITCHED_OFF}"
    )


@pytest.mark.parametrize(
    ("other", "unequal"),
    [
        (VERIFIED | {"requests": 5, "largest_difference": 1e-4}, False),
        (VERIFIED | {"bound": 0.25}, True),
        (SWITCHED_OFF, True),
        (None, True),
    ],
)
def test_runs_that_were_not_checked_alike_say_so(tmp_path: Path, other: Any, unequal: bool) -> None:
    sentence = unequal_certificates(comparisons_of(write(tmp_path / "a", VERIFIED), write(tmp_path / "b", other)))
    assert (sentence is not None) == unequal
    if sentence:
        assert sentence.startswith(f"{UNEQUAL}. Baichuan-7B (a): verified (bound 0.001 nats); Baichuan-7B (b): ")


@pytest.mark.parametrize(
    ("verified", "message"),
    [
        ({"requests": 3}, r"\.largest_difference: missing; .*\.bound: missing"),
        (
            {"requests": 3, "largest_difference": "x", "bound": 1.0},
            r"\.largest_difference: found 'x'; expected a valid",
        ),
        ([1], r": found \[1\]; expected an object"),
        (VERIFIED | {"generation": {"steps": 3}}, r"\.generation\.largest_difference: missing"),
        (VERIFIED | {"largest_difference": 0.5}, r": a largest difference of 0\.5 with a bound of 0\.001"),
        (VERIFIED | {"largest_difference": float("nan")}, r"\.largest_difference: found nan"),
    ],
)
def test_a_damaged_certificate_is_refused(tmp_path: Path, verified: Any, message: str) -> None:
    path = write(tmp_path, verified)
    with pytest.raises(ResultsError, match=rf"{path.name}: config\.baichuan\.verified{message}"):
        comparisons_of(path)


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "csv", "json"])
def test_every_format_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    paths = [str(write(tmp_path / "a", VERIFIED)), str(write(tmp_path / "b", SWITCHED_OFF))]
    assert cli.main(["compare", paths[0], "--format", form]) == 0
    shown = " ".join(capsys.readouterr().out.replace("\\_", "_").split())
    assert "verified: 12 requests, largest difference 3.1e-06 nats (bound 0.001)" in shown
    assert UNEQUAL not in shown
    assert cli.main(["compare", *paths, "--format", form]) == 0
    shown = " ".join(capsys.readouterr().out.replace("\\_", "_").split())
    assert f"no certificate: {SWITCHED_OFF}" in shown
    assert UNEQUAL in shown


def test_json_and_csv_hold_it_in_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(tmp_path, VERIFIED))
    assert cli.main(["compare", path, "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    (certificate,) = data["runs"][0]["certificates"]
    assert certificate["scores"] == {"compared": 12, "largest_difference": 3.1e-6, "bound": 1e-3}
    assert data["unequal_certificates"] is None
    assert cli.main(["compare", path, "--format", "csv"]) == 0
    (row, *_) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["certificate"].startswith("verified: 12 requests")
    assert row["unequal_certificates"] == ""


def test_the_page_shows_it(tmp_path: Path) -> None:
    paths = [str(write(tmp_path / "a", VERIFIED)), str(write(tmp_path / "b", SWITCHED_OFF))]
    page = tmp_path / "page.html"
    assert cli.main(["report", *paths, "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "verified: 12 requests, largest difference 3.1e-06 nats (bound 0.001)" in text
    assert f"no certificate: {SWITCHED_OFF}" in text
    assert UNEQUAL in text
