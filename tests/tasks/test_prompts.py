"""Every prompt of every benchmark equals an independent rendering, and says where its shots are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import plain_prompts
import pytest

Source = tuple[Path, dict[str, Any]]
PUBLISHED = {
    "ceval_5shot": 12342,
    "ceval_5shot_val": 1346,
    "mmlu_5shot": 14042,
    "cmmlu_5shot": 11582,
    "gaokao_5shot": 1503 - 9 * 5,
    "agieval_5shot": 4851 - 15 * 5,
    "agieval_5shot_without_jec_qa": 3839 - 13 * 5,
}
RULES = {
    "ceval": ("isolated", 0, "last"),
    "mmlu": ("isolated", 2048, "last"),
    "cmmlu": ("bare", 2048, "longest"),
    "gaokao": ("isolated", 0, "longest"),
    "agieval": ("isolated", 0, "longest"),
}


def expected_questions(benchmark: str, group: str, row: dict[str, Any], data: Path) -> Iterable[plain_prompts.Asked]:
    subject = row["subject"]
    if benchmark == "ceval":
        return plain_prompts.ceval(data, subject, "val" if "_val" in group else "test", row["name"])
    if benchmark == "mmlu":
        return plain_prompts.mmlu(data, subject)
    if benchmark == "cmmlu":
        return plain_prompts.cmmlu(data, subject, row["name"])
    if benchmark == "gaokao":
        return plain_prompts.gaokao(data, subject, row["name"], row["file"])
    return plain_prompts.agieval(data, subject, row["name"], row["file"], row["language"] == "en")


@pytest.mark.parametrize(
    "group", ["ceval_5shot", "ceval_5shot_val", "mmlu_5shot", "cmmlu_5shot", "gaokao_5shot", "agieval_5shot"]
)
def test_every_prompt_equals_the_plain_rendering(
    group: str, source: Source, load: Callable[..., dict[str, Any]], tables: dict[str, list[dict[str, Any]]]
) -> None:
    data, metadata = source
    benchmark = group.split("_")[0]
    tasks = load(group, **metadata)
    assert len(tasks) == len(tables[benchmark])
    questions = 0
    for row in tables[benchmark]:
        task = tasks[f"{group}_{row['subject']}"]
        task.build_all_requests()
        requests = task.instances
        expected = list(expected_questions(benchmark, group, row, data))
        assert len(requests) == 4 * len(expected) == 4 * len(task.eval_docs)
        for number, asked in enumerate(expected):
            for letter, request in zip("ABCD", requests[4 * number : 4 * number + 4], strict=True):
                assert request.args == (asked.context, asked.delimiter + letter)
            document = requests[4 * number].doc
            assert task.doc_to_target(document) == asked.answer
            check_contract(document, asked, RULES[benchmark])
        questions += len(expected)
    if "own_data" not in metadata:
        assert questions == PUBLISHED[group]


def check_contract(document: dict[str, Any], asked: plain_prompts.Asked, rules: tuple[str, int, str]) -> None:
    """What an adapter needs to drop shots and to pick label tokens."""
    assert (document["label_tokens"], document["max_prompt_tokens"], document["drop_shots"]) == rules
    assert document["shot_lengths"] == [len(shot) for shot in asked.shots]
    assert document["question_length"] == len(asked.question)
    assert document["description_length"] == len(asked.instruction)


@pytest.mark.parametrize("group", ["agieval_5shot_without_jec_qa", "agieval_5shot_jec_qa"])
def test_agieval_with_and_without_jec_qa_are_its_two_parts(
    group: str, load: Callable[..., dict[str, Any]], data_dir: Path
) -> None:
    questions = sum(len(task.eval_docs) for task in load(group, data_dir=str(data_dir)).values())
    without = PUBLISHED["agieval_5shot_without_jec_qa"]
    assert questions == (without if "without" in group else PUBLISHED["agieval_5shot"] - without)


@pytest.mark.parametrize("shots", [0, 2])
def test_fewer_shots_are_the_first_ones(shots: int, source: Source, load: Callable[..., dict[str, Any]]) -> None:
    data, metadata = source
    (task,) = load("ceval_5shot_law", **metadata).values()
    task.set_config("num_fewshot", shots)
    task.build_all_requests()
    for request, asked in zip(task.instances[::4], plain_prompts.ceval(data, "law", "test", "法学"), strict=True):
        assert request.args[0] == asked.instruction + "".join(asked.shots[:shots]) + asked.question


def test_with_a_chat_template_the_turns_hold_question_and_answer(
    small_data: Path, load: Callable[..., dict[str, Any]]
) -> None:
    (task,) = load("mmlu_5shot_anatomy", data_dir=str(small_data), own_data=True).values()
    asked = next(iter(plain_prompts.mmlu(small_data, "anatomy")))
    seen: list[list[dict[str, str]]] = []

    def template(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        seen.append(messages)
        return "templated"

    options = {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": template}
    assert task.fewshot_context(task.eval_docs[0], num_fewshot=5, **options) == "templated"
    (turns,) = seen
    assert [turn["role"] for turn in turns] == ["system", *["user", "assistant"] * 5, "user"]
    assert turns[0]["content"] == asked.instruction
    assert "".join(f"{q['content']} {a['content']}\n\n" for q, a in zip(turns[1:11:2], turns[2:11:2], strict=True)) == (
        "".join(asked.shots)
    )
    assert turns[-1]["content"] == asked.question
