"""The demo: its questions come from their seed, its checkpoints score, and each thing gone wrong costs the score."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from sentencepiece import SentencePieceProcessor

from lm_eval_baichuan.cli import main
from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM, BaichuanTokenizer, alibi_slopes
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM
from lm_eval_baichuan.model_adapters.lm.trie_lm import TrieLM

REPOSITORY = Path(__file__).resolve().parent.parent
TASK = REPOSITORY / "tasks" / "demo_5shot"
CHECKPOINTS = REPOSITORY / "model_adapters" / "demo"
LETTERS = "ABCD"
GOOD = 0.8
# What one of the two checkpoints answers all the same; the other notices it.
UNNOTICED = {("rope", "with_spaces"), ("rope", "seeing_another"), ("alibi", "with_blank_lines")}
CHANCE = 0.36  # a quarter, and two and a half standard deviations of 120 guesses


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    """The modules of scripts/demo, which import each other by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPOSITORY / "scripts" / "demo")
        names = ("questions", "vocabulary", "wrong_runs")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


class Demo:
    """A demo checkpoint, and the exam asked of it with one thing or another changed."""

    def __init__(self, positions: str, scripts: SimpleNamespace) -> None:
        folder = str(CHECKPOINTS / positions)
        self.questions, self.wrong_runs = scripts.questions, scripts.wrong_runs
        self.positions = positions
        self.name = "demo" if positions == "rope" else "demo-alibi"
        self.model = BaichuanForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = BaichuanTokenizer.from_pretrained(folder)
        self.isolated = [self.tokenizer(letter)["input_ids"][-1] for letter in LETTERS]
        self.colon = self.tokenizer.convert_tokens_to_ids("：")
        self.bare = self.tokenizer.convert_tokens_to_ids(list(LETTERS))

    @torch.no_grad()
    def score(
        self,
        prompt: Callable[..., str] | None = None,
        labels: list[int] | None = None,
        run: Callable[[list[torch.Tensor], list[int]], Any] | None = None,
        every: int = 2,
    ) -> float:
        """Share of right answers.

        `prompt` takes subject, shots and question; `run` takes the token ids of each prompt and where its question
        begins, and returns a `wrong_runs.Run`.
        """
        right = asked = 0
        for key, splits in self.questions.make_exam().items():
            questions = splits["test"][::every]
            render = partial(prompt or self.questions.prompt, self.questions.SUBJECTS[key], splits["dev"])
            rows = [torch.tensor(self.tokenizer(render(question))["input_ids"]) for question in questions]
            if run:
                ready = run(rows, self.wrong_runs.question_starts(rows, self.colon))
                ids, lengths, attention = ready.ids, ready.lengths, ready.attention
            else:
                (ids, lengths), attention = self.wrong_runs.pad(rows), {}
            logits = self.model(input_ids=ids, **attention).logits[torch.arange(len(ids)), lengths - 1]
            answers = logits[:, labels or self.isolated].argmax(dim=-1).tolist()
            right += sum(
                LETTERS[answer] == question.answer for answer, question in zip(answers, questions, strict=True)
            )
            asked += len(questions)
        return right / asked


@pytest.fixture(scope="module", params=["rope", "alibi"])
def demo(request: pytest.FixtureRequest, scripts: SimpleNamespace) -> Demo:
    return Demo(request.param, scripts)


# ---- The questions ----


def test_the_exam_in_the_tree_is_what_the_seed_gives(scripts: SimpleNamespace, tmp_path: Path) -> None:
    scripts.questions.write_exam(tmp_path)
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.csv")}
    assert len(written) == 2 * len(scripts.questions.SUBJECTS)
    assert written == {path.relative_to(TASK): path.read_bytes() for path in TASK.rglob("*.csv")}


def test_another_seed_gives_another_exam(scripts: SimpleNamespace) -> None:
    questions = scripts.questions
    assert questions.make_exam(questions.SEED + 1) != questions.make_exam()


def test_the_exam_is_fair(scripts: SimpleNamespace) -> None:
    """At least 200 questions, no four words twice, one option of each kind, each letter right equally often."""
    exam = scripts.questions.make_exam()
    assert len(exam) == 4
    assert sum(len(splits["test"]) for splits in exam.values()) >= 200
    for key, splits in exam.items():
        kind_of = {word: kind for kind, words in scripts.questions.SUBJECTS[key].kinds.items() for word in words}
        rows = splits["dev"] + splits["test"]
        assert len({frozenset(row.options) for row in rows}) == len(rows)
        for row in rows:
            assert len({kind_of[option] for option in row.options}) == 4
        asked_for = {kind_of[row.options[LETTERS.index(row.answer)]] for row in rows}
        assert len(asked_for) == 1
        rights = [row.answer for row in splits["test"]]
        assert all(rights.count(letter) * 4 == len(rights) for letter in LETTERS)


# ---- The checkpoints ----


def test_a_checkpoint_is_small_and_in_the_official_layout(demo: Demo) -> None:
    files = list((CHECKPOINTS / demo.positions).iterdir())
    assert {file.name for file in files} == {
        "config.json",
        "model.safetensors",
        "tokenizer.model",
        "tokenizer_config.json",
    }
    assert sum(file.stat().st_size for file in files) <= 4e6


def test_its_head_and_positions_are_those_of_the_family(demo: Demo) -> None:
    expected = {"rope": ("rope", False), "alibi": ("alibi", True)}[demo.positions]
    assert (demo.model.config.position_embedding, demo.model.config.norm_head) == expected


def test_its_vocabulary_is_what_the_seed_gives(demo: Demo, scripts: SimpleNamespace) -> None:
    from_seed = SentencePieceProcessor(model_proto=scripts.vocabulary.train_vocabulary())
    in_tree = SentencePieceProcessor(model_file=str(CHECKPOINTS / demo.positions / "tokenizer.model"))
    pieces = range(in_tree.vocab_size())
    assert in_tree.id_to_piece(list(pieces)) == from_seed.id_to_piece(list(pieces))
    assert [in_tree.get_score(piece) for piece in pieces] == [from_seed.get_score(piece) for piece in pieces]


def test_a_letter_alone_is_another_piece_than_in_the_prompt(demo: Demo) -> None:
    in_prompt = [demo.tokenizer("答案：" + letter)["input_ids"][-1] for letter in LETTERS]
    assert in_prompt == demo.bare
    assert demo.tokenizer.convert_ids_to_tokens(demo.isolated) == ["▁A", "▁B", "▁C", "▁D"]
    assert demo.tokenizer.convert_ids_to_tokens(demo.bare) == list(LETTERS)


def test_any_text_can_be_written_with_its_pieces(demo: Demo) -> None:
    text = "臺灣 naïve\n\tα≠β 🙂"
    assert demo.tokenizer.decode(demo.tokenizer(text)["input_ids"]) == text


def test_it_answers_the_exam(demo: Demo) -> None:
    assert demo.score(every=1) >= GOOD


def through_lm_eval(
    monkeypatch: pytest.MonkeyPatch, pretrained: str, adapter: type[TrieLM] = BaichuanLM, **options: Any
) -> float:
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)  # slow, and nothing to do with scores
    manager = TaskManager(include_path=str(TASK), include_defaults=False)
    lm = adapter(pretrained, device="cpu", **options)
    results = simple_evaluate(model=lm, tasks=["demo_5shot"], task_manager=manager, bootstrap_iters=0)
    assert results is not None
    return float(results["results"]["demo_5shot"]["acc,none"])


def test_it_answers_the_exam_through_lm_eval(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    assert through_lm_eval(monkeypatch, demo.name) >= GOOD


@pytest.mark.slow
def test_it_answers_the_exam_as_a_llama(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert main(["export", "demo", str(tmp_path / "llama")]) == 0
    assert through_lm_eval(monkeypatch, str(tmp_path / "llama"), TrieLM) >= GOOD


@pytest.mark.slow
def test_it_answers_the_exam_by_the_lines_that_the_readme_shows_for_python() -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    lines = lines.replace("pretrained=FOLDER", "pretrained=demo").replace("ceval_5shot_val", "demo_5shot")
    lines += 'print(results["results"]["demo_5shot"]["acc,none"])'
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert float(done.stdout.splitlines()[-1]) >= GOOD


# ---- One thing wrong at a time ----


def test_joint_label_tokens_cost_the_score(demo: Demo) -> None:
    assert demo.score(labels=demo.bare) <= CHANCE


def test_joint_label_tokens_cost_the_score_through_lm_eval(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    assert through_lm_eval(monkeypatch, demo.name, label_tokens="joint") <= CHANCE


def no_examples(q: Any, subject: Any, shots: list[Any], question: Any) -> str:
    return str(q.prompt(subject, [], question))


def examples_without_answers(q: Any, subject: Any, shots: list[Any], question: Any) -> str:
    rows = [q.render(row, with_answer=False) for row in [*shots, question]]
    return str(q.INSTRUCTION.format(name=subject.name)) + "".join("\n" + row for row in rows)


def examples_with_wrong_answers(q: Any, subject: Any, shots: list[Any], question: Any) -> str:
    wrong = [replace(shot, answer=LETTERS[(LETTERS.index(shot.answer) + 1) % 4]) for shot in shots]
    return str(q.prompt(subject, wrong, question))


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [no_examples, examples_without_answers, examples_with_wrong_answers])
def test_wrong_examples_cost_the_score(demo: Demo, scripts: SimpleNamespace, wrong: Callable[..., str]) -> None:
    assert demo.score(prompt=partial(wrong, scripts.questions)) <= CHANCE


@pytest.mark.slow
@pytest.mark.parametrize("form", ["without_instruction", "with_spaces", "with_blank_lines"])
def test_a_prompt_in_another_form_costs_the_score(demo: Demo, form: str) -> None:
    score = demo.score(prompt=getattr(demo.wrong_runs, form))
    assert (score <= CHANCE) == ((demo.positions, form) not in UNNOTICED)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["both_ways", "starting_anew", "seeing_another"])
def test_wrong_attention_costs_the_score(demo: Demo, way: str) -> None:
    score = demo.score(run=partial(getattr(demo.wrong_runs, way), demo.model))
    assert (score <= CHANCE) == ((demo.positions, way) not in UNNOTICED)


@pytest.mark.slow
def test_a_question_that_does_not_see_its_examples_costs_the_score(demo: Demo) -> None:
    def alone(rows: list[torch.Tensor], starts: list[int]) -> Any:
        ids, lengths = demo.wrong_runs.pad(rows)
        visible = demo.wrong_runs.causal(lengths)
        for prompt, start in enumerate(starts):
            visible[prompt, start:, :start] = False
        return demo.wrong_runs.Run(
            ids, lengths, demo.wrong_runs.attend(demo.model, visible, demo.wrong_runs.in_order(lengths))
        )

    assert demo.score(run=alone) <= CHANCE


def with_positions(
    demo: Demo, positions: Callable[[torch.Tensor], torch.Tensor], slopes: torch.Tensor | None = None
) -> Callable[[list[torch.Tensor], list[int]], Any]:
    """A run with the right mask, positions made from the right ones, and these slopes."""

    def run(rows: list[torch.Tensor], starts: list[int]) -> Any:
        ids, lengths = demo.wrong_runs.pad(rows)
        visible, right = demo.wrong_runs.causal(lengths), demo.wrong_runs.in_order(lengths)
        attention = demo.wrong_runs.attend(demo.model, visible, positions(right), slopes)
        return demo.wrong_runs.Run(ids, lengths, attention)

    return run


@pytest.mark.slow
def test_no_positions_cost_the_score(demo: Demo) -> None:
    assert demo.score(run=with_positions(demo, torch.zeros_like)) <= CHANCE


def test_wrong_slopes_cost_the_score(demo: Demo) -> None:
    if demo.positions != "alibi":
        pytest.skip("RoPE has no slopes")
    slopes = alibi_slopes(demo.model.config.num_attention_heads).flip(0)
    assert demo.score(run=with_positions(demo, torch.clone, slopes)) <= CHANCE


@pytest.mark.slow
def test_a_mask_and_positions_of_ones_own_cost_nothing_when_they_are_right(demo: Demo) -> None:
    assert demo.score(run=with_positions(demo, torch.clone)) == demo.score()
