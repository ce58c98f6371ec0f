"""A small vocabulary with Baichuan's chat tokens at their ids, and chat prompts built by hand."""

from __future__ import annotations

from pathlib import Path

import sentencepiece

USER, ASSISTANT = 195, 196
USER_PIECE = {"13b-chat": "<reserved_102>", "baichuan2": "<reserved_106>"}
ASSISTANT_PIECE = {"13b-chat": "<reserved_103>", "baichuan2": "<reserved_107>"}

Message = dict[str, str]


def train(folder: Path, rule: str) -> Path:
    """Trains it: ids 0, 1, 2 are special, so the symbols with the numbers 192 and 193 get the ids 195 and 196."""
    sentences = folder / "sentences.txt"
    lines = ["以下是单项选择题，请选出其中的正确答案。", "A. one B. two C. three D. four", "What is it? 答案：A B C D"]
    sentences.write_text("\n".join(lines * 9), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(sentences),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=560,
        add_dummy_prefix=rule == "13b-chat",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=[f"<x{i}>" for i in range(192)] + [USER_PIECE[rule], ASSISTANT_PIECE[rule], "\n"],
        minloglevel=2,
    )
    return folder / "tokenizer.model"


def official_ids(pieces: sentencepiece.SentencePieceProcessor, messages: list[Message], rule: str) -> list[int]:
    """The ids that the official builders give: each text encoded alone, after the token of its role."""
    ids: list[int] = []
    for message in messages:
        role = {"system": [], "user": [USER], "assistant": [ASSISTANT]}[message["role"]]
        ids += role + pieces.encode(message["content"])
        if message["role"] == "assistant" and rule == "13b-chat":
            ids.append(2)
    if rule == "13b-chat" or messages[-1]["role"] != "assistant":
        ids.append(ASSISTANT)
    return ids
