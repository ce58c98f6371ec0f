"""The Python API: load a model, score choices after prompts, compare results, write the report.

    from lm_eval_baichuan import load, score

    model, tokenizer = load("demo")
    score(model, tokenizer, ["1 + 1 = ", "2 + 2 = "], ["2", "4"])

Heavy libraries are imported by the functions that need them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .model_adapters.errors import CheckpointError, OptionError, RequestError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .comparison.shown import Compared
    from .model_adapters.trie_scorer import TrieScorer

__all__ = ["TrieScorer", "compare", "load", "report", "score"]

Paths = str | Path | Sequence[str | Path]


def __getattr__(name: str) -> Any:
    """Import the scorer's class when it is first asked for."""
    if name != "TrieScorer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .model_adapters.trie_scorer import TrieScorer

    return TrieScorer


def load(
    name_or_folder: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    **options: Any,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a causal model and its tokenizer. Python code of a checkpoint is never run.

    After the first call transformers' `AutoConfig`, `AutoModelForCausalLM` and `AutoTokenizer` know Baichuan too.

    Args:
        name_or_folder: A folder, a hub repository, or ``demo`` or ``demo-alibi``, which come with the package.
        device: Where the model goes; None for the accelerator if there is one, else the CPU.
        dtype: Of the weights. ``auto`` is, for a Baichuan, bfloat16 where the device has it, float16 on other GPUs,
            float32 on the CPU; for other models what the checkpoint states.
        options: For `from_pretrained` of the model: ``revision``, ``device_map``, ``quantization_config``, … The hub's
            (``revision``, ``token``, ``cache_dir``, …) are for the tokenizer too.

    Returns:
        The model in eval mode, and its tokenizer.

    Raises:
        CheckpointError: There is no such checkpoint, it is damaged, or only its own Python could read it.
        OptionError: ``trust_remote_code`` was given.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from .model_adapters.baichuan import BaichuanConfig
    from .model_adapters.baichuan.auto_dtype import auto_dtype
    from .model_adapters.baichuan.checkpoint import hub_arguments, local_checkpoint
    from .model_adapters.baichuan.checkpoint_tokenizer import checkpoint_tokenizer
    from .model_adapters.demo import demo_folder

    if "trust_remote_code" in options:
        raise OptionError("trust_remote_code: load never runs a checkpoint's own Python. Leave the option out.")
    name = str(demo_folder(str(name_or_folder)) or Path(name_or_folder).expanduser())
    hub = hub_arguments(options)
    config = _config(name, hub)
    on = torch.device(device) if device is not None else torch.accelerator.current_accelerator() or torch.device("cpu")
    if on.type != "cpu" and not {"device_map", "tp_plan"} & options.keys():
        options["device_map"] = {"": on}
    tokenizer: Any
    if isinstance(config, BaichuanConfig):
        name = local_checkpoint(name, **hub)
        options = {option: value for option, value in options.items() if option not in hub}
        tokenizer = checkpoint_tokenizer(Path(name), llama=False, add_bos_token=None)
        dtype = auto_dtype(on) if dtype == "auto" else dtype
    else:
        tokenizer = AutoTokenizer.from_pretrained(name, **hub)
    return AutoModelForCausalLM.from_pretrained(name, dtype=dtype, **options), tokenizer


def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: str | Sequence[str],
    choices: Sequence[str] | Sequence[Sequence[str]],
    *,
    label_tokens: Literal["joint", "isolated", "bare"] = "joint",
    max_length: int | None = None,
    token_budget: int | Literal["auto"] = "auto",
) -> NDArray[np.float64]:
    """The log-likelihood of each choice after each prompt; what prompts share is computed once.

    The numbers are those of ``lm_eval --model hf-trie``, but that nothing is shortened or cut to fit the model.

    Args:
        model: A causal model of transformers, or a peft model around one.
        tokenizer: Its tokenizer.
        prompts: The texts that stand before the choices.
        choices: The same for every prompt, or one list a prompt, all of one length. As in lm-eval, a choice brings the
            space before it along: ``" A"``.
        label_tokens: ``joint`` encodes prompt and choice together, as lm-eval does; ``isolated`` and ``bare`` take one
            token a choice as published scripts do: the last one of the choice encoded alone, or the one that is
            exactly the choice.
        max_length: The most tokens of prompt and choice; None for what the model's configuration states.
        token_budget: Tokens to run at once, or ``auto`` to choose by free memory.

    Returns:
        Log-likelihoods in nats, `[prompts, choices]`.

    Raises:
        OptionError: The choices are not as described, or `label_tokens` is none of the three.
        RequestError: A prompt is too long, or a choice has no token of its own under `label_tokens`.
        UnsupportedModelError: The model is no causal language model.
    """
    import numpy as np

    from .model_adapters.trie_scorer import TrieScorer, score_one_by_one

    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    by_prompt = _choices_by_prompt(prompts, choices)
    requests = [
        _encode(tokenizer, prompt, choice, label_tokens)
        for prompt, its_choices in zip(prompts, by_prompt, strict=True)
        for choice in its_choices
    ]
    if getattr(model.config, "is_encoder_decoder", False):
        raise UnsupportedModelError(f"{type(model).__name__} is an encoder and a decoder; score takes causal models.")
    longest = max((len(context) + len(continuation) - 1 for context, continuation in requests), default=1)
    try:
        scorer = TrieScorer(model, max_length=max_length or _stated_length(model) or longest, token_budget=token_budget)
        logprobs = np.zeros(len(requests))
        for found in scorer.score(requests):
            logprobs[found.request] = found.logprob
    except UnsupportedModelError as error:
        warnings.warn(f"Scoring one request at a time, because the trie cannot: {error}", RuntimeWarning, stacklevel=2)
        logprobs = np.array([logprob for logprob, _ in score_one_by_one(model, requests)])
    return logprobs.reshape(len(prompts), -1)


def compare(
    paths: Paths,
    *,
    against: str | Path | None = None,
    confidence: float = 0.95,
    x: Sequence[float | str] | None = None,
) -> Compared:
    """Sets results of lm-eval beside the published tables, beside chance, and beside each other.

    Args:
        paths: Results files, or folders that lm-eval's ``--output_path`` wrote: one, or several.
        against: Name of a published row, such as ``Baichuan-7B``, or results of another run; None for the row named
            like the model.
        confidence: Coverage of the intervals, 0 to 1.
        x: Where each run's checkpoint stands in its training, such as ``[500, 1000]`` or ``["220B", "1.2T"]``; None to
            read that from names such as ``checkpoint-500``.

    Returns:
        What was found. It shows itself as tables in a notebook and where it is printed, and has `to_dataframe()`.

    Raises:
        MissingExtraError: The extra ``report`` is not installed.
        OptionError: `x` does not fit the runs.
        PublishedError: No published row is called `against`, and no results are there.
        ResultsError: A path holds no results, or some that cannot be read.
    """
    from .comparison.outcome import find_outcome
    from .comparison.requirements import need_report_extra
    from .comparison.shown import Compared
    from .results import read_runs

    need_report_extra("scipy", "tabulate")
    row, places = _against_and_places(against, x)
    return Compared(find_outcome(read_runs(_paths(paths)), row, _share(confidence), x=places))


def report(
    paths: Paths,
    file: str | Path = "report.html",
    *,
    against: str | Path | None = None,
    confidence: float = 0.95,
    x: Sequence[float | str] | None = None,
    lang: Literal["en", "zh"] = "en",
) -> Compared:
    """Writes the comparison as one HTML page that opens offline, with charts, answers and all logged questions.

    Args:
        paths: As for `compare`.
        file: The page to write.
        against: As for `compare`.
        confidence: As for `compare`.
        x: As for `compare`.
        lang: The language of the page.

    Returns:
        What `compare` returns for these results, with what only logged samples tell (such as ties).

    Raises:
        MissingExtraError: The extra ``report`` is not installed.
        OptionError: `x` does not fit the runs, or `lang` is none of the languages.
        PublishedError: No published row is called `against`, and no results are there.
        ResultsError: A path holds no results, or some that cannot be read.
    """
    from .comparison.shown import Compared
    from .html_report.report import write_report
    from .languages import LANGUAGES

    if lang not in LANGUAGES:
        raise OptionError(f"lang is {lang!r}; expected {' or '.join(LANGUAGES)}.")
    row, places = _against_and_places(against, x)
    return Compared(write_report(_paths(paths), Path(file).expanduser(), row, _share(confidence), lang, places))


def _config(name: str, hub: dict[str, Any]) -> Any:
    """The configuration of a checkpoint; stops where only the checkpoint's own Python could make one."""
    from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

    from .model_adapters.baichuan.other_models import BAICHUAN_M1

    try:
        stated, _ = PreTrainedConfig.get_config_dict(name, **hub)
    except OSError as error:  # no such folder or repository, no network, no config.json
        raise CheckpointError(
            f"{name}: no checkpoint could be read ({error}). Check the name, or the folder."
        ) from error
    model_type = stated.get("model_type")
    if model_type not in CONFIG_MAPPING:
        found = f"{name}: config.json says model_type {model_type!r}"
        if model_type == "baichuan_m1":
            raise CheckpointError(f"{found}. {BAICHUAN_M1}")
        raise CheckpointError(
            f"{found}, which the installed transformers does not know, and a checkpoint's own Python is never run "
            "here. Upgrade transformers, if a newer one knows it."
        )
    return AutoConfig.from_pretrained(name, **hub)


def _choices_by_prompt(prompts: Sequence[str], choices: Any) -> list[list[str]]:
    if isinstance(choices, str) or not len(choices):
        raise OptionError(f"choices is {choices!r}; expected a list of texts, or one such list a prompt.")
    if all(isinstance(choice, str) for choice in choices):
        return [list(choices)] * len(prompts)
    counts = {len(each) for each in choices}
    if len(choices) != len(prompts) or len(counts) != 1 or any(isinstance(each, str) for each in choices):
        raise OptionError(
            f"choices has {len(choices)} entries of {sorted(counts)} choices for {len(prompts)} prompts; expected a "
            "list of texts for all prompts, or one a prompt, all of one length."
        )
    return [list(each) for each in choices]


def _encode(tokenizer: Any, prompt: str, choice: str, label_tokens: str) -> tuple[list[int], list[int]]:
    """Context ids and continuation ids, as `TrieLM` finds them."""
    from .model_adapters.lm.label_tokens import check_encoding, label_id

    prefix = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    # A chat form brings bos along.
    special = prefix is None or not prompt.startswith(tokenizer.decode([prefix]))
    if check_encoding(label_tokens, "score") != "joint":
        context = tokenizer.encode(prompt, add_special_tokens=special) if prompt else [prefix]
        return context, [label_id(tokenizer, choice.strip(), label_tokens)]
    if not prompt:
        ids = tokenizer.encode(choice, add_special_tokens=False)
        return (ids[:1], ids[1:]) if ids[:1] == [prefix] else ([prefix], ids)
    # White space at the end of a prompt is encoded with the choice, as lm-eval does.
    context = tokenizer.encode(prompt.rstrip(), add_special_tokens=special)
    whole = tokenizer.encode(prompt + choice, add_special_tokens=special)
    if not whole[len(context) :]:
        raise RequestError(f"The choice {choice!r} adds no token to the prompt {prompt[-60:]!r}.")
    return context or [prefix], whole[len(context) :]


def _stated_length(model: Any) -> int | None:
    config = model.config.get_text_config(decoder=True)
    length = getattr(config, "max_position_embeddings", None) or getattr(config, "model_max_length", None)
    return int(length) if length else None


def _against_and_places(
    against: str | Path | None, x: Sequence[float | str] | None
) -> tuple[str | None, list[str] | None]:
    """What `find_outcome` takes: both as the command line has them."""
    return None if against is None else str(against), None if x is None else [str(place) for place in x]


def _paths(paths: Paths) -> list[Path]:
    several = [paths] if isinstance(paths, str | Path) else list(paths)
    return [Path(path).expanduser() for path in several]


def _share(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise OptionError(f"confidence is {confidence!r}; expected a share between 0 and 1.")
    return confidence
