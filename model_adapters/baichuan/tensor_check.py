"""Compares the tensors of a checkpoint with those that its model needs, before any of its numbers are used.

Transformers warns about missing tensors and fills them with random numbers; here every difference stops the run, with
the tensor, the file, what was found and what was expected.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError
from .weight_files import Shape, tensor_headers, weight_files

FLOATING = ("float64", "float32", "float16", "bfloat16")
_BASE = "model."
_SHOWN = 12
_SAME_MODEL = "Check that config.json and every shard belong to the same model."
# What wrappers put inside the names of a module that they wrap.
_INSIDE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


@dataclass(frozen=True)
class Stored:
    """What a checkpoint's files say of one tensor: its shape, its dtype as torch names it, its file's name."""

    shape: Shape
    dtype: str
    file: str


def stored_tensors(folder: str | Path) -> tuple[dict[str, Stored], list[str]]:
    """Reads the headers of a checkpoint's weight files.

    Args:
        folder: The checkpoint.

    Returns:
        The tensors by name, and a sentence for each that two files hold.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    found: dict[str, Stored] = {}
    doubled = []
    for file in weight_files(folder):
        for name, (shape, dtype) in tensor_headers(file).items():
            if name in found:
                doubled.append(f"{name}: in {found[name].file} and again in {file.name}")
            found[name] = Stored(shape, dtype, file.name)
    return found, doubled


def check_tensors(
    folder: str | Path,
    expected: Mapping[str, Shape],
    *,
    ignored: Iterable[str] = (),
    tied: Mapping[str, str] | None = None,
) -> None:
    """Stops unless a checkpoint has exactly the tensors that the model needs.

    Args:
        folder: The checkpoint.
        expected: Name and shape of every tensor of the model.
        ignored: Patterns of tensors that a checkpoint may have in addition.
        tied: Tensors that are one and the same in the model, by name: either may be missing.

    Raises:
        CheckpointError: Names every missing, extra, misshapen and doubled tensor with its file (the first dozen), those
            of a dtype that is no number to compute with, and shards that differ in dtype; or what all names begin with.
    """
    found, problems = stored_tensors(folder)
    if wrapped := _wrapper(found, expected):
        raise CheckpointError(f"{folder}: {wrapped}")
    # Transformers takes the names of a base model, saved without its head, for those of the whole one.
    found = {_BASE + name if _BASE + name in expected else name: stored for name, stored in found.items()}
    spared = _spared(found, tied)
    problems += [
        f"{name}: missing, expected shape {list(shape)}"
        for name, shape in expected.items()
        if name not in found and name not in spared
    ]
    for name, stored in found.items():
        if name in expected:
            problems += _misfit(name, stored, expected[name])
        elif not any(re.search(pattern, name) for pattern in ignored):
            problems.append(f"{name}: unexpected, shape {list(stored.shape)} in {stored.file}")
    problems += _foreign_shards(found)
    _stop(folder, problems, _advice(found, expected))


def _misfit(name: str, stored: Stored, shape: Shape) -> list[str]:
    if stored.shape != shape:
        return [f"{name}: has shape {list(stored.shape)} in {stored.file}, but config.json describes {list(shape)}"]
    if stored.dtype not in FLOATING:
        return [
            f"{name}: is {stored.dtype} in {stored.file}, and config.json has no quantization_config to say what its "
            f"numbers mean; expected one of {', '.join(FLOATING)}"
        ]
    return []


def _foreign_shards(found: Mapping[str, Stored]) -> list[str]:
    """A sentence if tensors of one kind are stored in different dtypes by different files."""
    kinds: dict[str, dict[str, tuple[str, str]]] = {}  # kind of tensor -> dtype -> (tensor, file)
    for name, stored in found.items():
        kinds.setdefault(_kind(name), {}).setdefault(stored.dtype, (name, stored.file))
    for seen in kinds.values():
        if len({file for _, file in seen.values()}) > 1:
            tensors = ", ".join(f"{name} is {dtype} in {file}" for dtype, (name, file) in seen.items())
            return [f"the shards differ in dtype: {tensors}"]  # all tensors of a foreign shard differ; one says it
    return []


def _wrapper(found: Iterable[str], expected: Mapping[str, Shape]) -> str | None:
    """A sentence if what most names begin with, or have inside, keeps them from being the expected ones."""
    found = set(found)
    places = {name: name for name in expected} | {name.removeprefix(_BASE): name for name in expected}
    added: Counter[tuple[str, str]] = Counter()
    for name in found - expected.keys():
        for inside in _INSIDE:
            if inside in name and name.replace(inside, "") in expected:
                added[inside, ""] += 1
        ends = (name[at + 1 :] for at in (match.start() for match in re.finditer(r"\.", name)))
        if end := next((end for end in ends if end in places), None):  # the longest, so the shortest prefix
            added[name.removesuffix(end), places[end].removesuffix(end)] += 1
    missing = len(expected.keys() - found)
    if not added or missing < 2:
        return None
    (prefix, instead), count = added.most_common(1)[0]
    if count * 2 <= missing:
        return None
    return (
        f"the names of {count} tensors have {prefix!r} "
        + (f"where {instead!r} is expected" if instead else "in them, which the model's own names do not have")
        + f" ({next(name for name in sorted(found) if prefix in name)}). Some wrapper was saved with the model "
        "(DistributedDataParallel, torch.compile, peft, a trainer). Save the model inside it, or rename the tensors."
    )


def _advice(found: Mapping[str, Stored], expected: Iterable[str]) -> str:
    if nested := next((name for name, stored in found.items() if stored.dtype in ("dict", "OrderedDict")), None):
        return f"{nested} is a dictionary, as trainers save them. If the tensors are in it, save it alone as the file."
    packed, split = any("W_pack" in name for name in found), any(".q_proj." in name for name in found)
    if packed and not any("W_pack" in name for name in expected):
        return (
            "W_pack holds queries, keys and values in one, as Baichuan's layout has them, but config.json describes a "
            'Llama. Write "model_type": "baichuan" there, or split W_pack in q_proj, k_proj and v_proj.'
        )
    if split and not any(".q_proj." in name for name in expected):
        return (
            "q_proj is of Llama's layout, but config.json describes a Baichuan, whose W_pack holds queries, keys and "
            'values in one. Write "model_type": "llama" there if this is a Llama.'
        )
    return _SAME_MODEL


def check_quantized_tensors(
    folder: str | Path,
    expected: Mapping[str, Shape],
    *,
    ignored: Iterable[str] = (),
    tied: Mapping[str, str] | None = None,
) -> None:
    """Stops unless a checkpoint that config.json calls quantized has something for every layer, and the same for all.

    Args:
        folder: The checkpoint.
        expected: Name and shape of every tensor of the model before it was quantized.
        ignored: Patterns of tensors that a checkpoint may have in addition.
        tied: Tensors that are one and the same in the model, by name: either may be missing.

    Raises:
        CheckpointError: A layer has no tensors, or fewer than the same layer of another block; a tensor belongs to no
            layer, has another shape, or is one of whole numbers without scales to say what they mean; two files hold
            it; or bitsandbytes left its scales in the order of its CPU kernel.
    """
    found, problems = stored_tensors(folder)
    if wrapped := _wrapper(found, expected):
        raise CheckpointError(f"{folder}: {wrapped}")
    needed = {name.rpartition(".")[0] for name in expected}
    home = {name: _module(name, needed) for name in found if not any(re.search(pattern, name) for pattern in ignored)}
    modules: dict[str, set[str]] = {}  # layer -> what its tensors' names end in
    kinds: dict[str, set[str]] = {}
    for name, module in home.items():
        modules.setdefault(module, set()).add(name.removeprefix(module))
        kinds.setdefault(_kind(module), set()).add(name.removeprefix(module))
    if all(stored.dtype in FLOATING for stored in found.values()):
        problems.append(
            "none is quantized: all are of floating point, and config.json has a quantization_config. Remove it there "
            "if the weights were dequantized"
        )
    missing = needed - modules.keys() - {name.rpartition(".")[0] for name in _spared(found, tied)}
    problems += [f"{module}: missing" for module in sorted(missing)]
    problems += [f"{module}: unexpected" for module in sorted(modules.keys() - needed)]
    for module, parts in modules.items():
        lacking = sorted(kinds[_kind(module)] - parts)
        problems += [f"{module}{part}: missing, which other blocks have" for part in lacking]
    for name, stored in found.items():
        if stored.dtype in FLOATING and name in expected:
            problems += _misfit(name, stored, expected[name])
        if stored.dtype not in FLOATING and name in home and len(modules[home[name]]) == 1:
            problems.append(
                f"{name}: is {stored.dtype} in {stored.file}, with no scales beside it to say what its numbers mean"
            )
        if name.endswith(".absmax") and len(stored.shape) != 1:
            problems.append(
                f"{name}: has shape {list(stored.shape)} in {stored.file}, where bitsandbytes stores one row; it was "
                "saved after a forward pass on a CPU, which reorders the scales. Save it before the first"
            )
    _stop(folder, problems, _advice(found, expected))


def _module(name: str, modules: Container[str]) -> str:
    """The layer that a tensor belongs to, with which the names of its scales begin; else the name itself."""
    parts = name.split(".")
    starts = (".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))
    return next((start for start in starts if start in modules), name)


def _kind(name: str) -> str:
    """What a tensor or module has in common with those of the other blocks."""
    return re.sub(r"\.layers\.\d+\.", ".layers.N.", name)


def _spared(found: Mapping[str, Stored], tied: Mapping[str, str] | None) -> set[str]:
    """What need not be there, since what it is tied to is."""
    return {name for pair in (tied or {}).items() if not found.keys().isdisjoint(pair) for name in pair}


def _stop(folder: str | Path, problems: list[str], advice: str) -> None:
    if problems:
        more = f"\n  ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        shown = "\n  ".join(problems[:_SHOWN])
        raise CheckpointError(
            f"{folder}: the weights do not fit config.json ({len(problems)} differences):\n  {shown}{more}\n{advice}"
        )


def check_loading_report(
    folder: str | Path, report: Mapping[str, Iterable[object]], *, zero: Iterable[str] = ()
) -> None:
    """Stops where transformers filled a place with random numbers, or left a tensor out.

    Args:
        folder: The checkpoint.
        report: What transformers gives with ``output_loading_info=True``.
        zero: Names of left-out tensors that change nothing, since they hold zeros only.

    Raises:
        CheckpointError: Names the tensors (the first dozen).
    """
    zero = set(zero)
    problems = [f"{name}: missing" for name in sorted(map(str, report["missing_keys"]))]
    problems += [f"{name}: unexpected" for name in sorted(map(str, report["unexpected_keys"])) if name not in zero]
    problems += [f"{mismatch}: of another shape" for mismatch in report["mismatched_keys"]]
    _stop(folder, problems, _SAME_MODEL)
