"""The chat templates against the official prompt builders' token ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jinja2 import TemplateError

from lm_eval_baichuan.model_adapters.baichuan import BaichuanTokenizer
from lm_eval_baichuan.model_adapters.baichuan.chat_format import chat_rule, chat_template

RULES = {"v1-13b": "13b-chat", "v2": "baichuan2"}
USER, ASSISTANT = "<reserved_102>", "<reserved_103>"


@pytest.fixture(scope="module")
def tokenizer(data_dir: Path) -> BaichuanTokenizer:
    return BaichuanTokenizer(vocab_file=str(data_dir / "tokenizer" / "baichuan-7b.tokenizer.model"))


def encode(tokenizer: BaichuanTokenizer, messages: list[dict[str, str]], rule: str) -> list[int]:
    text = tokenizer.apply_chat_template(messages, chat_template=chat_template(rule, USER, ASSISTANT), tokenize=False)
    return tokenizer.encode(text)


def in_window(
    tokenizer: BaichuanTokenizer, messages: list[dict[str, str]], rule: str, context_length: int, max_new_tokens: int
) -> list[int]:
    """The official builders' window around a template's ids: the latest rounds that fit, the oldest tokens cut.

    An evaluation never cuts like that; it is here because the golden ids contain it.
    """
    limit = context_length - max_new_tokens
    if rule == "13b-chat":
        limit = max(limit, context_length // 2)
    system = [message for message in messages if message["role"] == "system"]
    turns = messages[len(system) :]
    closing = rule == "13b-chat" or turns[-1]["role"] != "assistant"
    ids: list[int] = []
    for start in reversed([i for i, message in enumerate(turns) if message["role"] == "user"]):
        longer = encode(tokenizer, system + turns[start:], rule)
        if ids and len(longer) - closing > limit:
            break
        ids = longer
    return ids[:-1][-limit:] + ids[-1:] if rule == "13b-chat" else ids[-limit:]


@pytest.mark.parametrize("generation", RULES)
def test_golden_conversations(golden_dir: Path, tokenizer: BaichuanTokenizer, generation: str) -> None:
    rule = RULES[generation]
    golden = json.loads((golden_dir / "chat_goldens.json").read_text(encoding="utf-8"))
    refused = shortened = 0
    for name, case in golden.items():
        limits = dict(part.split("=") for part in name.split("|")[1:])
        expected = case[generation]
        if isinstance(expected, str):
            refused += 1
            with pytest.raises(TemplateError, match="no system role"):
                encode(tokenizer, case["messages"], rule)
            continue
        whole = encode(tokenizer, case["messages"], rule)
        shortened += whole != expected
        fitted = in_window(tokenizer, case["messages"], rule, int(limits["max_len"]), int(limits["max_new"]))
        assert fitted == expected, name
        if int(limits["max_len"]) == 4096:
            assert whole == expected, name
    assert refused == (6 if rule == "13b-chat" else 0)
    assert shortened > 0


def test_the_vocabulary_names_the_rule(tokenizer: BaichuanTokenizer) -> None:
    assert chat_rule("<reserved_102>") == "13b-chat"
    assert chat_rule("<reserved_106>") == "baichuan2"
    assert chat_rule("A") is None
    assert tokenizer.chat_template == chat_template("13b-chat", USER, ASSISTANT)


def test_baichuan2_takes_a_system_text_only_first() -> None:
    from transformers.utils.chat_template_utils import _compile_jinja_template

    template = _compile_jinja_template(chat_template("baichuan2", "<U>", "<A>"))
    user, system = {"role": "user", "content": "hi"}, {"role": "system", "content": "be brief"}
    assert template.render(messages=[system, user]) == "be brief<U>hi<A>"
    assert template.render(messages=[user, {"role": "assistant", "content": "yo"}]) == "<U>hi<A>yo"
    with pytest.raises(TemplateError, match="only as the first"):
        template.render(messages=[user, system])
