"""Writes a RoPE Baichuan checkpoint as a standard Llama checkpoint.

A Baichuan with RoPE is a Llama whose query, key and value projections are stacked (``W_pack``, rows [Q; K; V]) and,
from Baichuan 2 on, whose output head is normalised when it is used (NormHead). Unstacking and normalising once gives a
checkpoint that any engine for Llama serves. Tensors are read and written one at a time; memory holds one output shard.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from tqdm import tqdm

from ..baichuan.checkpoint import modelling_source
from ..baichuan.configuration import BaichuanConfig
from ..baichuan.family import settle_family
from ..baichuan.modeling import BaichuanForCausalLM
from ..baichuan.stored_tensors import tensor_readers
from ..baichuan.tensor_check import check_tensors
from ..baichuan.tokenization import BaichuanTokenizer
from ..baichuan.weight_files import weight_files
from ..errors import CheckpointError, PlaceError
from ..places import held, try_folder
from .tokenizer import save_fast_tokenizer

SHARD_BYTES = 10**9
_ROWS = 8192
_UNFINISHED = ".unfinished-export"
_LOCK = ".lock"


def write_llama(source: Path, folder: Path, config: BaichuanConfig) -> None:
    """Writes weights, configuration and tokenizer of `source` as a Llama checkpoint.

    Args:
        source: A folder in Baichuan's layout, weights in any of its forms.
        folder: Where to write; see `complete_or_nothing`.
        config: From `llama_ready_config`.
    """
    dtype = write_weights(source, folder, norm_head=bool(config.norm_head))
    _write_config(source, folder, config, dtype)
    save_fast_tokenizer(BaichuanTokenizer.from_pretrained(str(source)), folder)


def llama_ready_config(source: Path, *, norm_head: bool | None = None) -> BaichuanConfig:
    """Reads the configuration of a checkpoint that can be written as a Llama.

    Args:
        source: A folder in Baichuan's layout.
        norm_head: Whether the head is a NormHead, for a checkpoint that does not say.

    Raises:
        CheckpointError: It is of another family, has ALiBi positions or quantized weights, or is damaged.
    """
    if not (source / "config.json").is_file():
        raise CheckpointError(f"{source}: no config.json there. Name a folder in Baichuan's layout.")
    model_type = json.loads((source / "config.json").read_text(encoding="utf-8")).get("model_type")
    if model_type != BaichuanConfig.model_type:
        raise CheckpointError(f"{source}: config.json says model_type {model_type!r}; expected 'baichuan'.")
    config: BaichuanConfig = BaichuanConfig.from_pretrained(str(source))
    config.norm_head = config.norm_head if norm_head is None else norm_head
    try:
        settle_family(config, where=str(source), source=modelling_source(source))
    except CheckpointError as error:
        raise CheckpointError(f"{error} (for export: --norm-head true or --norm-head false)") from error
    if config.position_embedding != "rope":
        raise CheckpointError(
            f"{source}: this checkpoint has ALiBi positions (a bias on the attention scores, per head and distance). "
            "A Llama has rotary positions, and no weights make one compute the other. Baichuan-7B and Baichuan2-7B "
            "can be exported; for the 13B models use an engine that knows Baichuan itself."
        )
    if getattr(config, "quantization_config", None) is not None:
        raise CheckpointError(f"{source}: the weights are quantized. Export the checkpoint they were made from.")
    with torch.device("meta"):
        expected = BaichuanForCausalLM(config).state_dict()
    check_tensors(
        source,
        {name: tuple(tensor.shape) for name, tensor in expected.items()},
        ignored=BaichuanForCausalLM._keys_to_ignore_on_load_unexpected,
    )
    return config


def llama_tensors(name: str, tensor: torch.Tensor, *, norm_head: bool) -> dict[str, torch.Tensor]:
    """The tensors of a Llama that hold one tensor of a Baichuan.

    Args:
        name: Its name in the Baichuan checkpoint.
        tensor: Its values; ``W_pack`` has shape [3 x hidden, hidden].
        norm_head: Whether the rows of ``lm_head.weight`` are to be normalised (in float32, eps 1e-12).
    """
    if name.endswith("rotary_emb.inv_freq"):
        return {}
    if name.endswith("self_attn.W_pack.weight"):
        prefix = name.removesuffix("W_pack.weight")
        parts = zip("qkv", tensor.chunk(3), strict=True)
        return {f"{prefix}{letter}_proj.weight": part.contiguous() for letter, part in parts}
    if name == "lm_head.weight" and norm_head:
        folded = torch.empty_like(tensor)
        for rows, part in zip(folded.split(_ROWS), tensor.split(_ROWS), strict=True):  # float32 of all would be large
            rows.copy_(torch.nn.functional.normalize(part.float(), dim=-1, eps=1e-12))
        return {name: folded}
    return {name: tensor.contiguous()}


@contextmanager
def complete_or_nothing(destination: Path, *, needed: int) -> Iterator[Path]:
    """A folder beside `destination` that becomes it at the end, and goes away if anything fails.

    What a killed export left beside it goes away too.

    Args:
        destination: A folder that does not exist yet.
        needed: Bytes that will be written.

    Raises:
        CheckpointError: `destination` exists, or the disk has no room.
        PlaceError: Nothing can be written there, or another export is writing it.
    """
    parent = destination.parent
    try_folder(parent, "export to")
    parent.mkdir(parents=True, exist_ok=True)
    for lock in parent.glob(f".*{_UNFINISHED}{_LOCK}"):
        with suppress(PlaceError), held(lock, "at work"):  # let go by a process that ended or died
            shutil.rmtree(lock.with_name(lock.name.removesuffix(_LOCK)), ignore_errors=True)
            lock.unlink(missing_ok=True)
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise CheckpointError(f"{parent} has {free / 1e9:.1f} GB free, but {needed / 1e9:.1f} GB will be written.")
    folder = parent / f".{destination.name}{_UNFINISHED}"
    lock = folder.with_name(folder.name + _LOCK)
    with held(lock, f"{destination}: another export is writing it. Let it end, or name another folder."):
        try:
            if destination.exists():
                raise CheckpointError(f"{destination} exists already, and nothing is overwritten. Name a new folder.")
            folder.mkdir()
            yield folder
            folder.rename(destination)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            lock.unlink(missing_ok=True)


def weights_size(folder: Path) -> int:
    """Bytes of a checkpoint's weight files."""
    return sum(file.stat().st_size for file in weight_files(folder))


def write_weights(source: Path, folder: Path, *, norm_head: bool, as_dtype: torch.dtype | None = None) -> torch.dtype:
    """Writes the shards and their index.

    Args:
        source: A folder in Baichuan's or Llama's layout, weights in any of its forms.
        folder: Where to write.
        norm_head: Whether the rows of ``lm_head.weight`` are to be normalised.
        as_dtype: What the weights are written in; None for what they are stored in.

    Returns:
        The dtype of the embedding in `source`.

    Raises:
        CheckpointError: A number does not fit into `as_dtype`.
        PlaceError: The disk is full.
    """
    shard: dict[str, torch.Tensor] = {}
    written: list[list[str]] = []
    held = total = 0
    dtype = torch.float32

    def flush() -> None:
        nonlocal held
        try:
            save_file(shard, folder / _shard_name(len(written)), metadata={"format": "pt"})
        except SafetensorError as error:
            raise PlaceError(f"{folder}: the weights could not be written ({error}). Make room there.") from error
        written.append(list(shard))
        shard.clear()
        held = 0

    with tqdm(total=weights_size(source), unit="B", unit_scale=True, desc="Writing Llama weights") as bar:
        for name, read in tensor_readers(weight_files(source)).items():
            tensor = read()
            for llama_name, values in llama_tensors(name, tensor, norm_head=norm_head).items():
                values = values if as_dtype is None else _converted(values, as_dtype, f"{source}: {name}")
                if held and held + values.nbytes > SHARD_BYTES:
                    flush()
                shard[llama_name] = values
                held, total = held + values.nbytes, total + values.nbytes
            if name == "model.embed_tokens.weight":
                dtype = tensor.dtype
            bar.update(tensor.nbytes)
        flush()
    count = len(written)
    names = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    if count == 1:
        names = ["model.safetensors"]
    else:
        index = {
            "metadata": {"total_size": total},
            "weight_map": {name: file for file, held_names in zip(names, written, strict=True) for name in held_names},
        }
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    for i, name in enumerate(names):
        (folder / _shard_name(i)).rename(folder / name)
    return dtype


def _converted(values: torch.Tensor, dtype: torch.dtype, where: str) -> torch.Tensor:
    converted = values.to(dtype)
    if not bool(converted.isfinite().all()):
        raise CheckpointError(
            f"{where} holds numbers up to {float(values.float().abs().max()):.3g}, which {str(dtype)[6:]} cannot hold. "
            "Use dtype=float32."
        )
    return converted


def _shard_name(number: int) -> str:
    return f"unfinished-{number:05d}.safetensors"


def _write_config(source: Path, folder: Path, config: BaichuanConfig, dtype: torch.dtype) -> None:
    """Writes config.json and generation_config.json."""
    from transformers import GenerationConfig, LlamaConfig

    llama = LlamaConfig(
        **{
            name: getattr(config, name)
            for name in (
                "vocab_size",
                "hidden_size",
                "intermediate_size",
                "num_hidden_layers",
                "num_attention_heads",
                "hidden_act",
                "initializer_range",
                "rms_norm_eps",
                "pad_token_id",
                "bos_token_id",
                "eos_token_id",
            )
        },
        num_key_value_heads=config.num_attention_heads,
        max_position_embeddings=config.context_length or 4096,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        tie_word_embeddings=False,
        architectures=["LlamaForCausalLM"],
    )
    stated: dict[str, Any] = {**llama.to_diff_dict(), "dtype": str(dtype).removeprefix("torch.")}
    # Engines built on transformers 4 look for these two names.
    stated.update(torch_dtype=stated["dtype"], rope_theta=config.rope_theta)
    (folder / "config.json").write_text(json.dumps(stated, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    given = source / "generation_config.json"
    stored = json.loads(given.read_text(encoding="utf-8")) if given.is_file() else {}
    known = GenerationConfig().to_dict()
    generation = {name: value for name, value in stored.items() if name in known}
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        generation.setdefault(name, getattr(config, name))
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")
