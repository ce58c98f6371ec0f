"""What the answers in a ``--use_cache`` database were computed with, kept in that database and compared before scoring.

lm-eval's cache knows a request by its text alone, so it answers another model with the scores of the first.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch
import transformers

from ..baichuan.quantized import describe_quantization
from ..errors import CacheError, OptionError

logger = logging.getLogger(__name__)

ARITHMETIC = 1
"""Raised with every change to this package that moves a log-likelihood by more than rounding."""

PROMPT_SHORTENING = 1
"""Raised with every change to which shots a prompt loses."""

KEY = "lm-eval-baichuan: computed with"
"""Where the database holds the fingerprint; lm-eval's own keys are hexadecimal."""

# Of a configuration: where it came from, and how it is named or described rather than computed.
_NO_SCORE = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "quantization_config", "architectures"}


def fingerprint(lm: Any) -> dict[str, Any]:
    """Everything of a loaded `TrieLM` that moves a score, in a form that JSON keeps.

    Reads every weight once, about a second a gigabyte.

    Raises:
        OptionError: Weights are offloaded, so they can't be told apart from others.
    """
    model = lm.model
    config = json.loads(json.dumps(model.config.to_dict(), default=str))
    return {
        "arithmetic": ARITHMETIC,
        "torch": torch.__version__,  # a release of either has changed answers without a word
        "transformers": transformers.__version__,
        "weights": weights_digest(model, lm.pretrained),
        "adapter": _adapter(model),
        "dtype": str(getattr(model, "dtype", None)).removeprefix("torch."),
        "mixed precision": str(lm.mixed_precision_dtype),
        "softmax dtype": str(lm.softmax_dtype),
        "quantization": describe_quantization(model.config),
        "scorer": "token trie" if lm.scored_by_trie else "lm-eval batches",
        "device": lm.device.type,
        **asked_with(lm),
        **{f"config.{name}": value for name, value in sorted(config.items()) if name not in _NO_SCORE},
    }


def asked_with(lm: Any) -> dict[str, Any]:
    """Everything that moves a score before a model runs: how requests become token ids, in a form that JSON keeps.

    Args:
        lm: A loaded model of `PublishedRequests`.
    """
    tokenizer = lm.tokenizer
    spelled = getattr(tokenizer, "backend_tokenizer", None)
    return {
        "prompt shortening": PROMPT_SHORTENING,
        "max_length": lm.max_length,
        "max_gen_toks": lm.max_gen_toks,
        "label_tokens": lm.label_override,
        "system_text": lm.system_text,
        "chat template": digest(getattr(tokenizer, "chat_template", None)),
        "tokenizer": digest([sorted(tokenizer.get_vocab().items()), spelled and spelled.to_str()]),
        "add_bos_token": lm.add_bos_token,
        "prefix token": lm.prefix_token_id,
    }


def check_cache(answers: MutableMapping[str, Any], computed_with: Mapping[str, Any], file: str) -> None:
    """Puts the fingerprint into an empty cache; compares it with that of a filled one.

    Args:
        answers: The database.
        computed_with: The `fingerprint` of this run.
        file: Its path, for the message.

    Raises:
        CacheError: The cache was filled with something else, or does not say with what.
    """
    now = json.loads(json.dumps(computed_with, sort_keys=True))
    way_out = "Give --use_cache another path, or delete the file."
    text = answers.get(KEY)
    if text is None:
        if len(answers):
            raise CacheError(
                f"{file}: this cache of --use_cache holds {len(answers)} answers but not what computed them; expected "
                f"one that this package began. {way_out}"
            )
        answers[KEY] = json.dumps(now)
        answers.commit()  # type: ignore[attr-defined]  # of SqliteDict
        return
    then = json.loads(text)
    other = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if other:
        shown = "; ".join(f"{name} was {then.get(name)!r:.80}, is {now.get(name)!r:.80}" for name in other[:6])
        more = f"; and {len(other) - 6} more" if len(other) > 6 else ""
        raise CacheError(f"{file}: this --use_cache holds another run's answers: {shown}{more}. {way_out}")


def weights_digest(model: torch.nn.Module, pretrained: Any) -> str:
    """A hash over the names and bits of all weights, an adapter's and a quantization's numbers included."""
    logger.info("--use_cache: hashing the weights.")
    found = hashlib.sha256()
    offloaded = False
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode())
        if isinstance(value, torch.Tensor):
            offloaded |= value.device.type == "meta"
            _add(found, value)
        else:
            found.update(repr(value).encode())
    if offloaded:
        if not Path(str(pretrained)).is_dir():
            raise OptionError(
                "--use_cache: some weights are offloaded, and pretrained is no folder here whose files could tell them "
                "from other weights. Give pretrained the folder, or leave --use_cache out."
            )
        found.update(files_digest(Path(str(pretrained)).iterdir()).encode())
    return found.hexdigest()[:16]


def files_digest(files: Iterable[Path]) -> str:
    """A hash over the names, sizes and times of files, for weights that aren't read here."""
    found = ((file.name, file.stat()) for file in sorted(files))
    return short_hash([[name, stat.st_size, stat.st_mtime_ns] for name, stat in found])


def _add(found: Any, tensor: torch.Tensor) -> None:
    found.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
    if hasattr(tensor, "__tensor_flatten__"):  # a quantized tensor, or one shared between processes
        inner, context = tensor.__tensor_flatten__()
        found.update(repr(context).encode())
        for name in inner:
            _add(found, getattr(tensor, name))
    elif tensor.device.type != "meta" and tensor.numel():
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _adapter(model: Any) -> Any:
    configs = getattr(model, "peft_config", None)
    if not isinstance(configs, Mapping):
        return None
    held = {name: config.to_dict() for name, config in configs.items()}
    for config in held.values():
        config.pop("base_model_name_or_path", None)
        for name, value in config.items():
            if isinstance(value, (set, frozenset)):
                config[name] = sorted(value)
    return digest(held)


def digest(value: Any) -> str | None:
    """A short hash of what JSON or a text can hold; None of None."""
    return None if value is None else short_hash(value)


def short_hash(value: Any) -> str:
    """A short hash of what JSON can hold; of anything else in it, of its text."""
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
