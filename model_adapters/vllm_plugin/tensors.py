"""Accounts for every tensor of the stream in which vLLM reads a checkpoint.

vLLM passes over a tensor that is missing where another one of its layer came, and tells of others without their shapes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping

import torch

from ..baichuan import BaichuanConfig, BaichuanForCausalLM
from ..baichuan.loading import ROTARY_BUFFERS
from ..baichuan.stored_tensors import tensor_readers
from ..baichuan.tensor_check import check_tensors
from ..baichuan.weight_files import Shape, weight_files
from ..errors import CheckpointError

_BASE = "model."
_SHOWN = 12


def expected_tensors(config: BaichuanConfig) -> dict[str, Shape]:
    """Name and shape of every tensor of the model that a configuration describes."""
    with torch.device("meta"):
        model = BaichuanForCausalLM(copy.deepcopy(config))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def folder_tensors(folder: str, expected: Mapping[str, Shape]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of the files that hold a folder's weights, each read when it is asked for.

    Raises:
        CheckpointError: A shard is missing, or a file's headers do not fit; names the file (see `tensor_check`).
    """
    check_tensors(folder, expected, ignored=[ROTARY_BUFFERS])
    for name, read in tensor_readers(weight_files(folder)).items():
        yield name, read()


def accounted(
    weights: Iterable[tuple[str, torch.Tensor]], expected: Mapping[str, Shape], where: str
) -> Iterator[tuple[str, torch.Tensor]]:
    """Passes on the tensors that the model needs, and stops at the end of the stream unless it was just these.

    Args:
        weights: Names and tensors, as they come.
        expected: From `expected_tensors`.
        where: The checkpoint, for the message.

    Raises:
        CheckpointError: Names every missing, unexpected, misshapen or doubled tensor, and those that hold no floating
            point numbers (the first dozen).
    """
    seen: set[str] = set()
    problems = []
    for stored, tensor in weights:
        if re.search(ROTARY_BUFFERS, stored):
            continue
        # A base model that was saved without its head has no prefix.
        name = _BASE + stored if _BASE + stored in expected else stored
        shape = tuple(tensor.shape)
        if name not in expected:
            problems.append(f"{stored}: unexpected, shape {list(shape)}")
        elif shape != expected[name]:
            problems.append(f"{name}: has shape {list(shape)}, but config.json describes {list(expected[name])}")
        elif not tensor.dtype.is_floating_point:
            problems.append(f"{name}: is {str(tensor.dtype).removeprefix('torch.')}; expected floating point numbers")
        elif name in seen:
            problems.append(f"{name}: there twice")
        else:
            yield name, tensor
        seen.add(name)
    missing = [name for name in expected if name not in seen]
    problems += [f"{name}: missing, expected shape {list(expected[name])}" for name in missing]
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(
            f"{where}: the weights do not fit config.json ({len(problems)} differences): "
            f"{'; '.join(problems[:_SHOWN])}{more}. Check that config.json and every shard belong to the same model."
        )
