"""Checks a written Llama checkpoint against the Baichuan it was made from: tensors, logits, token ids."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from tqdm import tqdm

from ..baichuan.configuration import BaichuanConfig
from ..baichuan.modeling import BaichuanForCausalLM
from ..baichuan.stored_tensors import tensor_readers
from ..baichuan.tokenization import BaichuanTokenizer
from ..baichuan.weight_files import weight_files
from ..errors import CheckpointError
from .write import llama_tensors

# Text of every kind that a vocabulary treats in its own way: words, runs of spaces, line ends, digits, markup, rare
# characters that fall back to bytes, half-width and full-width forms, combining characters.
SAMPLES = (
    "What is your name?",
    "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n\n",
    "下列说法正确的是____\nA. 1/3 m\nB. 0.5\nC. －2\nD. (1) (2)\n答案：",
    "  two  spaces \t tab\r\n\n\n 　全角 ",
    "<b>bold</b><br/>&lt; ---***___ x² ≥ √π ∑ 𝑓(𝑥) 😀👩‍👩‍👧 é e\u0301 \u2581 ﷽ 龘",
    "def f(x):\n    return x ** 2  # 注释\n",
    "2023-11-23 12:34:56,789 1,000,000.00 0x1F600",
    "",
)


def check_tensors_equal(source: Path, written: Path, config: BaichuanConfig) -> int:
    """Reads every written tensor back and compares it, bit by bit, with the one it was made from.

    Returns:
        The number of tensors compared.

    Raises:
        CheckpointError: One differs, is missing, or is one too many.
    """
    left = tensor_readers(weight_files(written))
    count = len(left)
    with tqdm(total=count, desc="Comparing tensors", unit="tensor") as bar:
        for stored, read in tensor_readers(weight_files(source)).items():
            for name, values in llama_tensors(stored, read(), norm_head=bool(config.norm_head)).items():
                found = left.pop(name, None)
                if found is None or not torch.equal(values, found()):
                    raise CheckpointError(f"{written}: {name} is not what was written. The disk may be failing.")
                bar.update()
    if left:
        raise CheckpointError(f"{written}: {', '.join(sorted(left)[:12])} came from nowhere. Please report this.")
    return count


def logit_difference(source: Path, written: Path, config: BaichuanConfig) -> tuple[float, float, torch.dtype]:
    """Runs both checkpoints on the same tokens, one model in memory at a time.

    In float32 where that fits into free memory, else in the dtype of the weights.

    Returns:
        The largest difference between logits, the largest logit, and the dtype of the computation.

    Raises:
        CheckpointError: The difference is more than the arithmetic explains.
    """
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        parameters = sum(p.numel() for p in BaichuanForCausalLM(config).parameters())
    stored: torch.dtype = getattr(torch, json.loads((written / "config.json").read_text(encoding="utf-8"))["dtype"])
    dtype = torch.float32 if 4.5 * parameters < psutil.virtual_memory().available else stored
    length = min(64, config.context_length or 64)
    ids = torch.randint(config.vocab_size, (2, length), generator=torch.Generator().manual_seed(0))
    expected = _logits(BaichuanForCausalLM, source, ids, dtype, config=config)
    found = _logits(LlamaForCausalLM, written, ids, dtype)
    difference, largest = float((found - expected).abs().max()), float(expected.abs().max())
    # A folded NormHead was rounded to the dtype of the weights; all else is float32 arithmetic in another order.
    rounding = 4 * torch.finfo(stored).eps if config.norm_head else 0.0
    arithmetic = 1e-4 if dtype == torch.float32 else 8 * torch.finfo(dtype).eps
    if not difference <= (arithmetic + rounding) * max(largest, 1.0):
        raise CheckpointError(
            f"{written}: the logits of the written checkpoint differ from those of {source} by up to {difference:.2g} "
            f"(largest logit {largest:.3g}, computed in {str(dtype).removeprefix('torch.')}). Please report this."
        )
    return difference, largest, dtype


def check_token_ids(source: Path, written: Path) -> int:
    """Compares the written tokenizer.json with sentencepiece on sample texts and on every piece of the vocabulary.

    Returns:
        The number of texts compared.

    Raises:
        CheckpointError: One gets other ids.
    """
    from transformers import PreTrainedTokenizerFast

    own = BaichuanTokenizer.from_pretrained(str(source))
    fast = PreTrainedTokenizerFast.from_pretrained(str(written))
    texts = [*SAMPLES, *(own.sp_model.decode([i]) for i in range(len(own.sp_model)))]
    for text, ids in zip(texts, fast(texts, add_special_tokens=False)["input_ids"], strict=True):
        if own.encode(text, add_special_tokens=False) != ids:
            raise CheckpointError(f"{written}: tokenizer.json gives other ids than sentencepiece for {text!r}.")
    return len(texts)


@torch.inference_mode()
def _logits(model_class: Any, folder: Path, ids: torch.Tensor, dtype: torch.dtype, **kwargs: Any) -> torch.Tensor:
    model = model_class.from_pretrained(str(folder), dtype=dtype, **kwargs).eval()
    logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits.float()
    del model
    gc.collect()
    return logits
