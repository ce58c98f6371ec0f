"""``--apply_chat_template``: the model's own form, no system text lost, shots as turns, long prompts shortened."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import sentencepiece
from chat_vocabulary import ASSISTANT, USER, official_ids, train
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from lm_eval_baichuan.model_adapters.baichuan import BaichuanTokenizer
from lm_eval_baichuan.model_adapters.baichuan.chat_format import chat_template
from lm_eval_baichuan.model_adapters.errors import OptionError, RequestError
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM
from lm_eval_baichuan.model_adapters.lm.chat import ChatForm

Make = Callable[..., Instance]
Write = Callable[..., str]
Load = Callable[..., BaichuanLM]

RULES = ["13b-chat", "baichuan2"]
SYSTEM = {"role": "system", "content": "以下是单项选择题。\n\n"}
SHOTS = [("one two? 答案：", "A"), ("three four one two three four? 答案：", "B"), ("four? 答案：", "C")]
QUESTION = {"role": "user", "content": "What is it? 答案："}
CONVERSATION = [
    message
    for question, answer in SHOTS
    for message in ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
]


@pytest.fixture(params=RULES)
def rule(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def load(write_checkpoint: Write, tmp_path: Path) -> Load:
    def load(rule: str, **options: Any) -> BaichuanLM:
        folder = tmp_path / "vocabulary"
        folder.mkdir()
        tokenizer = train(folder, rule)
        return BaichuanLM(write_checkpoint(tokenizer, rule, vocab_size=560), device="cpu", **options)

    return load


def pieces_of(lm: BaichuanLM) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=lm.tokenizer.vocab_file)


def test_turns_have_the_official_ids(load: Load, rule: str) -> None:
    lm = load(rule)
    messages = [*CONVERSATION, QUESTION]
    found = lm.tok_encode(lm.apply_chat_template(messages))
    assert found == official_ids(pieces_of(lm), messages, rule)
    assert found.count(USER) == 4
    assert found[-1] == ASSISTANT
    assert found.count(2) == (3 if rule == "13b-chat" else 0)
    assert lm.get_model_info()["baichuan"]["chat_form"] == {"rule": rule, "system_text": "none", "shots": "turns"}


def test_golden_conversations(golden_dir: Path, data_dir: Path) -> None:
    tokenizer = BaichuanTokenizer(vocab_file=str(data_dir / "tokenizer" / "baichuan-7b.tokenizer.model"))
    golden = json.loads((golden_dir / "chat_goldens.json").read_text(encoding="utf-8"))
    refused = 0
    for name, case in golden.items():
        if "max_len=4096" not in name:
            continue  # cut to a window, which an evaluation never does
        for generation, rule in (("v1-13b", "13b-chat"), ("v2", "baichuan2")):
            tokenizer.chat_template = chat_template(rule, "<reserved_102>", "<reserved_103>")
            form = ChatForm()
            if isinstance(case[generation], str):
                refused += 1
                with pytest.raises(RequestError, match="system_text=first_user"):
                    form.render(tokenizer, case["messages"], add_generation_prompt=True)
                continue
            assert (
                tokenizer.encode(form.render(tokenizer, case["messages"], add_generation_prompt=True))
                == (case[generation])
            )
    assert refused == 2


def test_an_answer_that_was_begun_is_continued(load: Load, rule: str) -> None:
    lm = load(rule)
    text = lm.apply_chat_template([QUESTION, {"role": "assistant", "content": "A"}], add_generation_prompt=False)
    pieces = pieces_of(lm)
    assert lm.tok_encode(text) == [USER, *pieces.encode(QUESTION["content"]), ASSISTANT, *pieces.encode("A")]


def test_a_system_text_is_refused_where_the_form_has_none(load: Load) -> None:
    with pytest.raises(RequestError, match=r"has no system role.*--model_args system_text=first_user"):
        load("13b-chat").apply_chat_template([SYSTEM, QUESTION])


def test_a_system_text_stands_first_in_baichuan2(load: Load) -> None:
    lm = load("baichuan2")
    found = lm.tok_encode(lm.apply_chat_template([SYSTEM, QUESTION]))
    assert found == official_ids(pieces_of(lm), [SYSTEM, QUESTION], "baichuan2")
    assert lm.get_model_info()["baichuan"]["chat_form"]["system_text"] == "own"


@pytest.mark.parametrize(
    ("system", "between"), [("以下是单项选择题。\n\n", ""), ("以下是单项选择题。", "\n")], ids=["blank line", "bare"]
)
def test_a_system_text_in_the_first_user_turn(load: Load, rule: str, system: str, between: str) -> None:
    lm = load(rule, system_text="first_user")
    found = lm.tok_encode(lm.apply_chat_template([{"role": "system", "content": system}, *CONVERSATION, QUESTION]))
    first = {"role": "user", "content": system + between + CONVERSATION[0]["content"]}
    assert found == official_ids(pieces_of(lm), [first, *CONVERSATION[1:], QUESTION], rule)
    assert lm.get_model_info()["baichuan"]["chat_form"] == {
        "rule": rule,
        "system_text": "first_user",
        "shots": "turns",
    }


def test_an_unknown_place_for_the_system_text_stops(load: Load) -> None:
    with pytest.raises(OptionError, match="expected one of own, first_user, drop"):
        load("13b-chat", system_text="user")


def test_a_dropped_system_text_is_left_out_as_hf_does_and_said(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    lm = load("13b-chat", system_text="drop")
    with caplog.at_level(logging.WARNING):
        texts = [lm.apply_chat_template([SYSTEM, *CONVERSATION, QUESTION]) for _ in range(2)]
    assert texts == 2 * [HFLM.apply_chat_template(lm, [SYSTEM, *CONVERSATION, QUESTION])]
    assert lm.tok_encode(texts[0]) == official_ids(pieces_of(lm), [*CONVERSATION, QUESTION], "13b-chat")
    assert lm.get_model_info()["baichuan"]["chat_form"]["system_text"] == "dropped"
    assert caplog.text.count("The system text is left out") == 1


def test_a_system_text_that_has_a_place_is_not_dropped(load: Load) -> None:
    lm = load("baichuan2", system_text="drop")
    assert lm.apply_chat_template([SYSTEM, QUESTION]) == HFLM.apply_chat_template(lm, [SYSTEM, QUESTION])
    assert lm.get_model_info()["baichuan"]["chat_form"]["system_text"] == "own"


def test_a_model_without_chat_form_says_so(write_checkpoint: Write) -> None:
    lm = BaichuanLM(write_checkpoint(), device="cpu")
    assert lm.get_model_info()["baichuan"]["chat_form"] is None
    with pytest.raises(RequestError, match=r"states no chat form.*chat_template.jinja"):
        lm.apply_chat_template([QUESTION])


def test_a_template_of_the_checkpoints_own_is_used_and_named(write_checkpoint: Write) -> None:
    folder = write_checkpoint()
    (Path(folder) / "chat_template.jinja").write_text("{% for m in messages %}[{{ m['content'] }}]{% endfor %}")
    lm = BaichuanLM(folder, device="cpu")
    assert lm.apply_chat_template([QUESTION]) == f"[{QUESTION['content']}]"
    assert lm.get_model_info()["baichuan"]["chat_form"]["rule"] == "the checkpoint's own chat template"


def shots_of(messages: list[dict[str, str]]) -> list[str]:
    return [message["content"] for message in messages if message["role"] == "assistant"]


@pytest.mark.parametrize("drop", ["last", "longest"])
@pytest.mark.parametrize("place", ["own", "first_user"])
@pytest.mark.parametrize("turns", [True, False])
def test_a_long_conversation_loses_shots_and_nothing_else(
    load: Load, instance: Make, turns: bool, place: str, drop: str
) -> None:
    lm = load("baichuan2", system_text=place)

    def history(shots: list[tuple[str, str]]) -> list[dict[str, str]]:
        if not turns:
            shown = "".join(f"{question}{answer}\n" for question, answer in shots)
            return [SYSTEM, {"role": "user", "content": shown + QUESTION["content"]}]
        pairs = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in shots]
        return [SYSTEM, *(message for pair in pairs for message in pair), QUESTION]

    kept = SHOTS[:2] if drop == "last" else [SHOTS[0], SHOTS[2]]
    expected = lm.tok_encode(ChatForm(place).render(lm.tokenizer, history(kept), add_generation_prompt=True))
    context = lm.apply_chat_template(history(SHOTS))
    doc = {
        "label_tokens": "isolated",
        "description_length": len(SYSTEM["content"]),
        "shot_lengths": [len(question) + len(answer) + 1 for question, answer in SHOTS],
        "question_length": len(QUESTION["content"]),
        "max_prompt_tokens": len(expected),
        "drop_shots": drop,
    }
    request = instance(context, "A", **doc)
    [(logprob, _)] = lm.loglikelihood([request], disable_tqdm=True)
    [(_, sent, _)] = lm._requests.encode([request])
    assert [*sent] == expected
    assert lm.get_model_info()["baichuan"]["shortened_prompts"]["some_task"]["shots"] == 2  # asked for twice
    assert logprob < 0


TASK = """
task: tiny_chat
dataset_path: json
dataset_kwargs: {data_files: {test: QUESTIONS, dev: QUESTIONS}}
output_type: multiple_choice
test_split: test
fewshot_split: dev
fewshot_config: {sampler: first_n}
num_fewshot: 2
description: "以下是单项选择题。\\n\\n"
doc_to_text: question
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
target_delimiter: ""
fewshot_delimiter: "\\n"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskManager:
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [
        {"question": f"What is {name}? 答案：", "answer": label} for name, label in zip("wxyz", "ABCD", strict=True)
    ]
    (folder / "questions.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "tiny_chat.yaml").write_text(TASK.replace("QUESTIONS", str(folder / "questions.jsonl")))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return TaskManager(include_path=str(folder), include_defaults=False)


@pytest.mark.parametrize("turns", [True, False])
def test_lm_evals_own_loop(load: Load, tasks: TaskManager, rule: str, turns: bool) -> None:
    lm = load(rule, system_text="first_user")
    results = lm_eval.simple_evaluate(
        model=lm,
        tasks=["tiny_chat"],
        task_manager=tasks,
        apply_chat_template=True,
        fewshot_as_multiturn=turns,
        log_samples=True,
        bootstrap_iters=0,
    )
    description = "以下是单项选择题。\n\n"
    for sample in results["samples"]["tiny_chat"]:
        asked = sample["doc"]["question"]
        context, label = sample["arguments"][0]
        if turns:
            messages = [
                {"role": "user", "content": f"{description}What is w? 答案："},
                {"role": "assistant", "content": "A"},
                {"role": "user", "content": "What is x? 答案："},
                {"role": "assistant", "content": "B"},
                {"role": "user", "content": asked},
            ]
        else:  # the published prompt, as it stands, in one user turn
            prompt = f"{description}What is w? 答案：A\nWhat is x? 答案：B\n{asked}"
            messages = [{"role": "user", "content": prompt}]
        assert lm.tok_encode(context) == official_ids(pieces_of(lm), messages, rule)
        assert label == "A"
    assert lm.get_model_info()["baichuan"]["chat_form"]["shots"] == ("turns" if turns else "none or inline")


def test_lm_evals_own_loop_stops_at_a_description_without_place(load: Load, tasks: TaskManager) -> None:
    with pytest.raises(RequestError, match="system_text=first_user"):
        lm_eval.simple_evaluate(
            model=load("13b-chat"), tasks=["tiny_chat"], task_manager=tasks, apply_chat_template=True
        )
