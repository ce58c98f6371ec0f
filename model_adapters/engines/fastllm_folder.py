"""Prepares a checkpoint for ftllm, which reads Llama's form in safetensors: once, in the user's folder of caches.

A RoPE Baichuan is a Llama whose projections are stacked and whose head may be normalised (see `llama_export.write`).
What is prepared is known by the contents of the weights it was made from, appears under its name only when all of it is
there, and is read through before it is used again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..baichuan import BaichuanConfig
from ..baichuan.weight_files import weight_files
from ..errors import UnsupportedModelError
from ..llama_export.write import complete_or_nothing, weights_size, write_weights
from ..outside.files import parse_json, read_text

logger = logging.getLogger(__name__)

FORM = 1
"""Raised with every change to what is written for the same checkpoint."""
RECORD = "prepared.json"
_BLOCK = 1 << 22
_USE_TRIE = "Use --model baichuan."


@dataclass(frozen=True)
class Prepared:
    """A folder that ftllm reads.

    Attributes:
        folder: Where it is.
        fingerprint: Of all that it was made from.
        made: Whether this run made it.
    """

    folder: Path
    fingerprint: str
    made: bool


def llama_values(config: Any, window: int, dtype: str, where: str) -> dict[str, Any]:
    """What ftllm's config.json says for a checkpoint.

    Args:
        config: The settled configuration, Baichuan's or Llama's.
        window: The context length of the model, in tokens.
        dtype: ``float32`` or ``float16``.
        where: The checkpoint, for messages.

    Raises:
        UnsupportedModelError: The model computes what ftllm was not run with.
    """
    if getattr(config, "quantization_config", None) is not None:
        raise UnsupportedModelError(f"{where}: its weights are quantized, which was never run on ftllm. {_USE_TRIE}")
    if config.hidden_act != "silu":
        raise UnsupportedModelError(f"{where}: hidden_act is {config.hidden_act!r}; on ftllm only 'silu' was run.")
    if isinstance(config, BaichuanConfig):
        if config.position_embedding != "rope":
            raise UnsupportedModelError(
                f"{where}: this checkpoint has ALiBi positions, which ftllm does not compute for the form that it is "
                f"given; with RoPE it serves Baichuan-7B and Baichuan2-7B. {_USE_TRIE}"
            )
        theta = config.rope_theta
    else:
        theta = _llama_theta(config, where)
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "rms_norm_eps")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        **{name: getattr(config, name) for name in names},
        "num_key_value_heads": config.num_attention_heads,
        "hidden_act": "silu",
        "rope_theta": theta,
        "max_position_embeddings": window + 1,  # a prompt as long as the window, and the token that it predicts
        "bos_token_id": 1,
        "eos_token_id": -1,  # where a text ends is decided here
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
    }


def _llama_theta(config: Any, where: str) -> float:
    """The base of the frequencies of a Llama that is a Baichuan in its arithmetic."""
    rope = dict(config.rope_parameters or {})
    width = config.hidden_size // config.num_attention_heads
    others = {
        "rope_type": rope.get("rope_type", "default") != "default",
        "partial_rotary_factor": rope.get("partial_rotary_factor") not in (None, 1, 1.0),
        "num_key_value_heads": config.num_key_value_heads != config.num_attention_heads,
        "head_dim": (config.head_dim or width) != width,
        "attention_bias": bool(config.attention_bias),
        "mlp_bias": bool(config.mlp_bias),
        "tie_word_embeddings": bool(config.tie_word_embeddings),
    }
    found = [name for name, other in others.items() if other]
    if found:
        raise UnsupportedModelError(
            f"{where}: {', '.join(found)} in config.json is not as in any Baichuan, and was not run on ftllm. "
            f"{_USE_TRIE}"
        )
    return float(rope["rope_theta"])


def prepare(source: Path, config: Any, dtype: str, window: int, root: Path) -> Prepared:
    """Has a folder that ftllm reads, made from a checkpoint now or by an earlier run.

    Args:
        source: The checkpoint, every tensor of it accounted for.
        config: Its settled configuration.
        dtype: ``float32`` or ``float16``.
        window: The context length, in tokens.
        root: Where prepared folders are kept.

    Raises:
        CheckpointError: A number does not fit into `dtype`, or the disk has no room.
        PlaceError: Nothing can be written there, or another process is preparing the same.
        UnsupportedModelError: ftllm cannot serve the model.
    """
    values = llama_values(config, window, dtype, str(source))
    norm_head = bool(getattr(config, "norm_head", False))
    made_from = [FORM, values, norm_head, [_file_hash(file) for file in weight_files(source)]]
    fingerprint = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
    folder = root / f"{source.name[:40]}-{dtype}-{fingerprint}"
    if folder.exists():
        damage = _damage(folder, fingerprint)
        if damage is None:
            logger.info("ftllm reads %s, which an earlier run prepared from these weights.", folder)
            return Prepared(folder, fingerprint, made=False)
        logger.warning("%s: %s. It is prepared anew.", folder, damage)
        shutil.rmtree(folder)
    logger.warning("Preparing %s for ftllm (Llama's form, %s) in %s.", source, dtype, folder)
    target: torch.dtype = getattr(torch, dtype)
    with complete_or_nothing(folder, needed=2 * weights_size(source)) as unfinished:
        write_weights(source, unfinished, norm_head=norm_head, as_dtype=target)
        (unfinished / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        files = {file.name: _file_hash(file) for file in sorted(unfinished.iterdir())}
        record = {"fingerprint": fingerprint, "source": str(source), "files": files}
        (unfinished / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return Prepared(folder, fingerprint, made=True)


def default_root() -> Path:
    """Where prepared folders are kept unless ``prepared=`` says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lm-eval-baichuan" / "fastllm"


def _damage(folder: Path, fingerprint: str) -> str | None:
    """What is wrong with a prepared folder, if anything."""
    try:
        record = parse_json(read_text(folder / RECORD))
        files = dict(record["files"])
        if record["fingerprint"] != fingerprint:
            return f"{RECORD} is of another preparation"
        for name, found in files.items():
            if _file_hash(folder / str(name)) != found:
                return f"{name} is not what was written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"it is not complete ({type(error).__name__}: {error})"
    return None


def _file_hash(file: Path) -> str:
    """Of a file's contents."""
    found = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
