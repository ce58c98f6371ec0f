"""Evaluations killed at any moment and resumed give what an undisturbed one gives, and score nothing twice."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from small_data import write_small_data
from stand_in_hub import hub_files

Storm = Any  # of conftest, which has one name for all folders

REPOSITORY = Path(__file__).resolve().parents[2]
FACTS = ("label_tokens", "shortened_prompts", "truncated_prompts", "tokens_by_task", "ties", "questions")
PHASES = ("loading", "scoring", "writing")
KEY_LENGTH = 64
"""Of the keys of answers; the fingerprint's is another."""

DEMO = ["--tasks", "demo_5shot_nature,demo_5shot_geography", "--limit", "40"]
DEMO += ["--include_path", str(REPOSITORY / "tasks" / "demo_5shot")]
HUB = ["--tasks", "mmlu_5shot_anatomy,cmmlu_5shot_arts,ceval_5shot_law", "--include_path", str(REPOSITORY / "tasks")]
HUB += ["--metadata", "own_data=true"]


class Evaluation:
    """One evaluation that is run again and again in a folder until it ends."""

    def __init__(self, storm: Storm, folder: Path, processes: int, arguments: list[str]) -> None:
        self.storm, self.folder, self.processes = storm, folder, processes
        self.arguments = ["--model", "baichuan", "--model_args", "pretrained=demo,dtype=float32,max_length=120"]
        self.arguments += ["--device", "cpu", "--use_cache", str(folder / "answers")]
        self.arguments += ["--output_path", str(folder / "results"), "--log_samples", *arguments]

    def run(self, phase: str | None = None, after: float | None = None) -> dict[str, Any]:
        """Run it, kill it so many seconds into a phase, and look at what it left."""
        before = self.kept()
        for told in self.folder.glob("told*"):
            told.unlink()
        done = self.storm.do(
            "evaluate",
            phase=phase,
            after=after,
            processes=self.processes,
            told=str(self.folder / "told"),
            arguments=self.arguments,
        )
        lines = [
            line.split() for path in sorted(self.folder.glob("told*")) for line in path.read_text("utf-8").splitlines()
        ]
        scored = [words[2] for words in lines if words[0] == "scoring"]
        assert len(scored) == len(set(scored)), "scored twice in one run"
        assert not before & set(scored), "scored though the cache had it"
        assert self.kept() >= before, "a kept answer is lost"
        if done["killed"]:
            phases = [words[0] for words in lines] or ["starting"]
            self.storm.fell[phases[-1]] += 1
        else:
            done["results"] = self.results()
            began = {words[0]: float(words[1]) for words in reversed(lines)}  # the first of each
            ends = [began.get("scoring", began["writing"]), began["writing"], done["seconds"]]
            done["phases"] = {name: end - began.get(name, end) for name, end in zip(PHASES, ends, strict=True)}
            assert done["results"]["remembered"] == len(before)
        return done

    def kept(self) -> set[str]:
        """The keys of the answers in the caches, each of which must be whole."""
        keys: set[str] = set()
        for path in self.folder.glob("answers_rank*.db"):
            with closing(sqlite3.connect(path)) as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                if database.execute("SELECT name FROM sqlite_master").fetchone():
                    found = database.execute("SELECT key FROM unnamed")
                    keys |= {key for (key,) in found if len(key) == KEY_LENGTH}
        return keys

    def results(self) -> dict[str, Any]:
        """What the last run wrote."""
        path = max((self.folder / "results").rglob("results_*.json"), key=lambda path: path.stat().st_mtime_ns)
        results = json.loads(path.read_text("utf-8"))
        answers = {}
        for task in results["configs"]:
            samples = path.with_name(path.name.replace("results", f"samples_{task}").replace(".json", ".jsonl"))
            for sample in map(json.loads, samples.read_text("utf-8").splitlines()):
                answers[task, sample["doc_id"]] = [float(response[0]) for response in sample["filtered_resps"]]
        told = results["config"]["baichuan"]
        return {
            "scores": {task: values["acc,none"] for task, values in results["results"].items()},
            "facts": {name: told[name] for name in FACTS},
            "answers": answers,
            "remembered": told["remembered_answers"],
        }

    def forget(self) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()


def assert_equal(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found["facts"] == wanted["facts"]
    assert found["scores"].keys() == wanted["scores"].keys()
    for task, score in wanted["scores"].items():
        if not wanted["facts"]["ties"][task]["questions"]:  # whose best answers rounding tells apart
            assert found["scores"][task] == score, task
    assert found["answers"].keys() == wanted["answers"].keys()
    for key, logprobs in wanted["answers"].items():  # fewer requests together are added up otherwise
        assert found["answers"][key] == pytest.approx(logprobs, abs=1e-4), key


@pytest.fixture
def hub(storm: Storm, downloads: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], None]:
    """Fills the homes with small data; returns what makes everything downloaded be forgotten."""
    folder = tmp_path_factory.mktemp("small_data")
    tables = (REPOSITORY / "scripts" / "task_tables").glob("*.json")
    write_small_data(folder, {path.stem: json.loads(path.read_text("utf-8")) for path in tables})
    storm.homes.files = hub_files(folder)
    return lambda: shutil.rmtree(downloads, ignore_errors=True)


@pytest.mark.parametrize(
    ("processes", "arguments"), [(1, DEMO), (2, DEMO), (1, HUB)], ids=["one process", "two processes", "hub sets"]
)
def test_a_killed_evaluation_goes_on_and_ends_as_an_undisturbed_one(
    processes: int, arguments: list[str], storm: Storm, hub: Callable[[], None], tmp_path: Path
) -> None:
    storm.fell = Counter()
    undisturbed = Evaluation(storm, tmp_path / "undisturbed", processes, arguments)
    undisturbed.folder.mkdir()
    hub()
    first = undisturbed.run()
    wanted = first["results"]
    assert any(not facts["questions"] for facts in wanted["facts"]["ties"].values()), "no score to compare"
    assert wanted["remembered"] == 0 and sum(facts["asked"] for facts in wanted["facts"]["questions"].values()) > 5

    disturbed = Evaluation(storm, tmp_path / "disturbed", processes, arguments)
    disturbed.folder.mkdir()
    hub()
    kills = runs = 0
    while kills < storm.kills:
        phase = storm.chance.choice(PHASES)
        done = disturbed.run(phase, after=storm.moment(first["phases"][phase]))
        kills += done["killed"]
        if not done["killed"]:
            assert_equal(done["results"], wanted)
            runs += 1
            disturbed.forget()
            hub()
    assert_equal(disturbed.run()["results"], wanted)
    print(f"{kills} kills of {first['seconds']:.1f} s, {runs + 1} runs to their end: {dict(storm.fell)}")
