"""The fingerprint of a run's questions: the same for the same questions, and for no others."""

from __future__ import annotations

import random
from typing import Any

from lm_eval.api.instance import Instance

from lm_eval_baichuan.model_adapters.lm.run_facts import RunFacts

SHOTS = [{"prompt": f"shot {i}", "answer": "A"} for i in range(5)]


def requests(count: int = 4, *, answer: str = "A", shots: list[dict[str, str]] = SHOTS, **more: Any) -> list[Instance]:
    made = []
    for number in range(count):
        doc = {"question": f"question {number}", "answer": answer, "shots": shots, "shot_lengths": [7] * 5, **more}
        made += [
            Instance("loglikelihood", doc, ("context", label), i, ("t", number, 1)) for i, label in enumerate("AB")
        ]
    return made


def facts(*parts: list[Instance]) -> dict[str, Any]:
    """What the results say, where each part was asked by a process of its own."""
    processes = []
    for part in parts:
        process = RunFacts()
        process.asked.note(part)
        processes.append(process)
    told: dict[str, Any] = RunFacts.sum(processes).as_dict()["questions"]
    return told


def test_neither_order_nor_processes_nor_the_form_of_the_prompt_is_a_difference() -> None:
    first = facts(requests())
    assert first["t"]["asked"] == 4
    shuffled = requests(shots=SHOTS[::-1], prompt="another template", instruction="in another form")
    random.Random(0).shuffle(shuffled)  # noqa: S311
    assert facts(shuffled) == first
    assert facts(requests()[::2], [*requests()[1::2], requests()[-1]]) == first


def test_another_answer_another_number_and_other_shots_are_told_apart() -> None:
    first = facts(requests())["t"]
    answer = facts(requests(answer="B"))["t"]
    assert answer["questions"] != first["questions"] and answer["numbers"] == first["numbers"]
    fewer = facts(requests(3))["t"]
    assert fewer["numbers"] != first["numbers"] and fewer["asked"] == 3
    shots = facts(requests(shots=[*SHOTS[:4], {"prompt": "shot 4", "answer": "B"}]))["t"]
    assert shots["shots"] != first["shots"] and shots["questions"] == first["questions"]


def test_of_any_other_task_the_whole_document_counts() -> None:
    some, other = ([Instance("loglikelihood", {"prompt": text}, ("c", "A"), 0, ("t", 0, 1))] for text in "ab")
    assert facts(some)["t"]["questions"] != facts(other)["t"]["questions"]
    assert facts(some)["t"]["shots"] is None
