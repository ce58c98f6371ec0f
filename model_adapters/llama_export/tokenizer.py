"""Writes a Baichuan vocabulary as a ``tokenizer.json`` that gives the same ids as sentencepiece.

The usual conversion of a sentencepiece model gives other ids on some text, because it lets merges run across
user-defined symbols. Here those symbols are cut out first, the longest one at each place, as sentencepiece does. That
was compared with sentencepiece on every text of the published benchmarks (see tests/export).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError, TokenizerError

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast

    from ..baichuan.tokenization import BaichuanTokenizer

_BPE = 2  # TrainerSpec.ModelType in sentencepiece_model.proto
_NORMAL, _USER_DEFINED = 1, 4  # ModelProto.SentencePiece.Type


def fast_tokenizer(tokenizer: BaichuanTokenizer) -> PreTrainedTokenizerFast:
    """Builds the equivalent of `tokenizer` for the tokenizers library.

    Args:
        tokenizer: The checkpoint's own; its special and added tokens and its chat template are taken over.

    Raises:
        TokenizerError: The sentencepiece model is of a kind that Baichuan never used, or protobuf is not installed.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    model = _parse(tokenizer.sp_model.serialized_model_proto())
    pieces = [piece.piece for piece in model.pieces]
    symbols = [piece.piece for piece in model.pieces if piece.type == _USER_DEFINED]
    fast = Tokenizer(
        models.BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=_merges(model.pieces),
            unk_token=pieces[tokenizer.sp_model.unk_id()],
            byte_fallback=True,
            ignore_merges=True,  # a user-defined symbol is a piece although no merges lead to it
        )
    )
    prefix = model.normalizer_spec.add_dummy_prefix
    fast.normalizer = normalizers.Sequence(
        [*([normalizers.Prepend("▁")] if prefix else []), normalizers.Replace(" ", "▁")]
    )
    if symbols:
        longest_first = "|".join(re.escape(symbol) for symbol in sorted(symbols, key=len, reverse=True))
        fast.pre_tokenizer = pre_tokenizers.Split(Regex(longest_first), "isolated")
    fast.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            *([decoders.Strip(" ", 1, 0)] if prefix else []),
        ]
    )
    for token_id, token in sorted(tokenizer.added_tokens_decoder.items()):
        fast.add_tokens([AddedToken(token.content, special=token.special, normalized=False)])
        if fast.token_to_id(token.content) != token_id:
            raise TokenizerError(
                f"Added token {token.content!r} has id {token_id}, but the next free id is "
                f"{fast.token_to_id(token.content)}: the checkpoint's added tokens leave a gap in the vocabulary."
            )
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        chat_template=tokenizer.chat_template,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        **{name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)},
    )


def save_fast_tokenizer(tokenizer: BaichuanTokenizer, folder: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and tokenizer.model, for engines that read one or the other."""
    # The template stands in tokenizer_config.json, where every engine looks; a file of its own is read by some only.
    fast_tokenizer(tokenizer).save_pretrained(folder, save_jinja_files=False)
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    # The name that transformers 4 and 5 both know, and no class that would build the tokenizer anew in its own way.
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config["add_bos_token"] = config["add_eos_token"] = False
    config = {key: value for key, value in config.items() if value is not None}
    file.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "tokenizer.model").write_bytes(tokenizer.sp_model.serialized_model_proto())


def _parse(serialized: bytes) -> Any:
    try:
        from sentencepiece import sentencepiece_model_pb2 as messages
    except ImportError as error:
        raise MissingExtraError(
            f"Reading the types of the pieces of tokenizer.model needs protobuf ({error}). "
            "Install it: pip install 'lm-eval-baichuan[export]'"
        ) from error
    model: Any = vars(messages)["ModelProto"]()  # generated at import, so unknown to type checkers
    model.ParseFromString(serialized)
    rules = model.normalizer_spec
    if model.trainer_spec.model_type != _BPE or rules.remove_extra_whitespaces or rules.precompiled_charsmap:
        raise TokenizerError(
            "tokenizer.model is no byte-pair model without normalisation, as every Baichuan vocabulary is "
            f"(model type {model.trainer_spec.model_type}, normalisation {rules.name!r}); it cannot be written as "
            "tokenizer.json with the same ids."
        )
    return model


def _merges(pieces: Any) -> list[tuple[str, str]]:
    """All ways to make each piece from two others, the best-scored piece first, which is sentencepiece's order."""
    scores = {piece.piece: piece.score for piece in pieces if piece.type == _NORMAL}
    by_score = sorted(scores, key=lambda piece: -scores[piece])
    return [
        (piece[:cut], piece[cut:])
        for piece in by_score
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
