"""The label tokens that each task's documents ask for, as ids of the real vocabulary under both families' rules.

Baichuan 1's vocabulary puts a space in front of every text, Baichuan 2's does not. The pieces of the Baichuan-7B model
serve for both here: once as they are, once with that rule off.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

WITH_SPACE, BARE = [703, 731, 702, 743], [31132, 31139, 31133, 31140]


@pytest.fixture(scope="module")
def vocabularies(data_dir: Path) -> dict[str, Any]:
    from sentencepiece import sentencepiece_model_pb2

    content = (data_dir / "tokenizer" / "baichuan-7b.tokenizer.model").read_bytes()
    model = sentencepiece_model_pb2.ModelProto.FromString(content)  # type: ignore[attr-defined]  # made at run time
    assert model.normalizer_spec.add_dummy_prefix
    model.normalizer_spec.add_dummy_prefix = False
    return {
        "dummy prefix": sentencepiece.SentencePieceProcessor(model_proto=content),
        "no dummy prefix": sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString()),
    }


def label_ids(vocabulary: Any, encoding: str) -> list[int]:
    if encoding == "isolated":
        return [vocabulary.encode(letter)[-1] for letter in "ABCD"]
    assert encoding == "bare"
    return [vocabulary.piece_to_id(letter) for letter in "ABCD"]


@pytest.mark.parametrize(
    ("task", "ranked", "shown"),
    [
        # task, ids that are ranked, ids of the letters inside the shots: each for (dummy prefix, no dummy prefix)
        ("ceval_5shot_law", (WITH_SPACE, BARE), (BARE, BARE)),
        ("mmlu_5shot_virology", (WITH_SPACE, BARE), (WITH_SPACE, WITH_SPACE)),
        ("cmmlu_5shot_arts", (BARE, BARE), (BARE, BARE)),
        ("gaokao_5shot_history", (WITH_SPACE, BARE), (BARE, BARE)),
        ("agieval_5shot_logiqa_zh", (WITH_SPACE, BARE), (BARE, BARE)),
        ("agieval_5shot_sat_math", (WITH_SPACE, BARE), (WITH_SPACE, WITH_SPACE)),
    ],
)
def test_ranked_and_shown_label_ids(
    task: str,
    ranked: tuple[list[int], list[int]],
    shown: tuple[list[int], list[int]],
    vocabularies: dict[str, Any],
    load: Callable[..., dict[str, Any]],
    data_dir: Path,
) -> None:
    (loaded,) = load(task, data_dir=str(data_dir)).values()
    loaded.build_all_requests()
    for number, vocabulary in enumerate(vocabularies.values()):
        assert {request.doc["label_tokens"] for request in loaded.instances} in ({"isolated"}, {"bare"})
        for request in loaded.instances[:4]:
            assert label_ids(vocabulary, request.doc["label_tokens"]) == ranked[number]
        context = loaded.instances[0].args[0]
        lengths = loaded.eval_docs[0]["shot_lengths"]
        end = loaded.eval_docs[0]["description_length"]
        for shot, length in zip(loaded.dataset["dev"], lengths, strict=True):
            end += length
            assert context[:end].rstrip("\n").endswith(shot["answer"])
            inside = vocabulary.encode(context[:end].rstrip("\n"))[-1]
            assert inside == shown[number]["ABCD".index(shot["answer"])]
