"""Reads the tokenizer of a checkpoint in Baichuan's or in Llama's layout: sentencepiece itself wherever there is one.

Fine-tunes of Baichuan-7B are often saved as Llama checkpoints. Transformers converts such a folder's vocabulary, which
gives other ids on some text, and puts bos before every text, which Baichuan never saw.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import TokenizerError
from .tokenization import BaichuanTokenizer
from .tokenizer_check import check_ids
from .tokenizer_files import read_tokenizer_files


def checkpoint_tokenizer(folder: Path, *, llama: bool, add_bos_token: bool | None) -> BaichuanTokenizer | None:
    """The tokenizer of a checkpoint folder.

    Args:
        folder: The folder.
        llama: Whether the checkpoint is in Llama's layout.
        add_bos_token: What the user asked for; None leaves it to the checkpoint, and means no bos for a Llama layout.

    Returns:
        The tokenizer, or None for a Llama layout without ``tokenizer.model``.

    Raises:
        TokenizerError: A Baichuan layout has no ``tokenizer.model``, a file beside it is damaged, or the tokenizer
            gives other ids than sentencepiece.
    """
    model_file = folder / "tokenizer.model"
    if not model_file.is_file():
        if llama:
            read_tokenizer_files(folder)  # for its checks: transformers' errors name no file
            return None
        raise TokenizerError(
            f"{folder}: no tokenizer.model there. Copy it from the original checkpoint, or pass tokenizer=FOLDER."
        )
    if llama and add_bos_token is None:
        add_bos_token = False
    options: dict[str, Any] = {} if add_bos_token is None else {"add_bos_token": add_bos_token}
    # By name, not through AutoTokenizer: tokenizer_config.json may name a class that converts the vocabulary.
    tokenizer: BaichuanTokenizer = BaichuanTokenizer.from_pretrained(str(folder), **options)
    if llama and not read_tokenizer_files(folder).chat_template:
        # The vocabulary's own chat form is not what such a fine-tune was trained on (Vicuna's, say).
        tokenizer.chat_template = None
    check_ids(tokenizer, model_file)
    return tokenizer
