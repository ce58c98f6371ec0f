"""`FastllmBaichuanLM`: RoPE Baichuans scored by ftllm on the CPU, compared with this package's own model first."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from tqdm import tqdm

from ..baichuan import BaichuanConfig
from ..baichuan.chat_format import rule_of
from ..baichuan.checkpoint import HUB_ARGUMENTS, hub_arguments, local_checkpoint
from ..baichuan.checkpoint_tokenizer import checkpoint_tokenizer
from ..demo import demo_folder
from ..errors import CheckpointError, EngineError, RequestError, TokenizerError
from ..hosts.lm_eval import cut_generated, generation, keeps_answers
from ..hosts.transformers import never_warn_of_length
from ..lm.cache_fingerprint import ARITHMETIC, asked_with
from ..lm.chat import check_has_form
from ..lm.embedding_rows import EmbeddingRows
from ..lm.model_args import check_folder, check_names, check_numbers
from ..lm.provenance import package_facts
from ..lm.published_requests import PublishedRequests
from ..lm.request_encoding import Encoded
from ..lm.run_places import try_run_places
from .family_options import FAMILY_OPTIONS
from .fastllm_certificate import FastllmCertificate
from .fastllm_checks import (
    NOT_HERE,
    check_options,
    found_ftllm,
    own_dtype,
    servable_config,
    window,
    without_weights,
)
from .fastllm_folder import default_root, prepare
from .fastllm_process import FastllmProcess
from .prompts import Prompts

logger = logging.getLogger(__name__)

DEFAULT_CHECKPOINT = "baichuan-inc/Baichuan-7B"
_OPTIONS = (
    *("pretrained", "dtype", "batch_size", "max_batch_size", "device", "max_length", "max_gen_toks", "label_tokens"),
    *("system_text", "self_check", "add_bos_token", "tokenizer", "threads", "timeout", "prepared", "trust_remote_code"),
    *FAMILY_OPTIONS,
    *HUB_ARGUMENTS,
    *NOT_HERE,
)
_OF_GREEDY = ("do_sample", "temperature", "top_p", "top_k")
_ORDER = 256  # prompts in one order


class FastllmBaichuanLM(PublishedRequests):
    """Baichuan-7B, Baichuan2-7B and their fine-tunes, in Baichuan's or Llama's layout, on ftllm.

    Args:
        pretrained: A folder in the official layout, a hub repository, or ``demo``.
        dtype: ``float32``, which ``auto`` means, or ``float16``.
        batch_size: How many prompts ftllm has under way at a time.
        max_batch_size: Accepted, since lm-eval passes it on; has no effect.
        device: ``cpu``; lm-eval's default is taken for it.
        max_length: The context length in tokens, at most what the checkpoint states, which is the default.
        max_gen_toks: The most tokens to generate where a task says nothing.
        label_tokens: ``isolated``, ``bare`` or ``joint``, instead of what each task publishes.
        system_text: Where a system text goes in the chat form (see `TrieLM`).
        self_check: Whether a few of the run's own requests are computed by this package's model too and compared.
        add_bos_token: Whether a text gets the token; None leaves it to the checkpoint.
        tokenizer: A folder with another tokenizer.
        threads: Threads of ftllm; None for its own number.
        timeout: Seconds that one answer of ftllm, or its loading, may take.
        prepared: Where prepared checkpoints are kept; None for the user's folder of caches.
        trust_remote_code: Accepted and ignored: no code from a checkpoint is ever run.
        further: ``norm_head`` and the like for a checkpoint that does not say; ``revision`` and the like of the hub.

    Raises:
        CheckpointError: The checkpoint is missing, damaged, or of another model type.
        MissingExtraError: ftllm is not installed, or is another release than was run.
        OptionError: An option is unknown, or asks for what ftllm was not run with.
        UnsupportedModelError: ftllm cannot serve the model.
    """

    RESULTS_KEY = "baichuan_fastllm"

    def __init__(
        self,
        pretrained: str = DEFAULT_CHECKPOINT,
        dtype: str = "auto",
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
        max_length: int | None = None,
        max_gen_toks: int = 256,
        label_tokens: str | None = None,
        system_text: str = "own",
        self_check: bool = True,
        add_bos_token: bool | None = None,
        tokenizer: str | None = None,
        threads: int | None = None,
        timeout: float = 600,
        prepared: str | None = None,
        trust_remote_code: bool | None = False,
        **further: Any,
    ) -> None:
        """Prepares the checkpoint; ftllm starts when it is first asked."""
        options = {
            **further,
            **{"dtype": dtype, "batch_size": batch_size, "device": device, "max_length": max_length},
            **{"threads": threads, "timeout": timeout, "pretrained": pretrained},
        }
        self._checked(options)
        self._version = found_ftllm()
        self._note_options(label_tokens, system_text)
        super().__init__()
        try_run_places()
        if trust_remote_code:
            logger.warning("trust_remote_code is ignored: no code from a checkpoint is ever run.")
        demo = demo_folder(pretrained)
        self._source = Path(demo or local_checkpoint(pretrained, **hub_arguments(options)))
        self._config = servable_config(str(self._source), options)
        self._dtype, self._max_length = own_dtype(dtype), window(self._config, options)
        self.max_gen_toks, self.add_bos_token = int(max_gen_toks), add_bos_token
        self.batch_size = int(batch_size)
        self.tokenizer = self._read_tokenizer(Path(tokenizer) if tokenizer else self._source, self._config, options)
        never_warn_of_length(self.tokenizer)
        self._rows = EmbeddingRows(self.tokenizer, without_weights(self._config))
        self._rows.require_all_but_added()
        self._take_requests()
        root = Path(prepared).expanduser() if prepared else default_root()
        self._prepared = prepare(self._source, self._config, self._dtype, self._max_length, root)
        folder = str(self._prepared.folder)
        self._engine = FastllmProcess(folder, self._dtype, int(self._config.vocab_size), threads, float(timeout))
        self._certificate = FastllmCertificate(
            str(self._source),
            self._config,
            self._dtype,
            self._max_length,
            self._engine,
            self._facts,
            on=bool(self_check),
        )
        self._asked = {"one_token": 0, "token_by_token": 0, "generated": 0}

    @classmethod
    def check_model_args(cls, options: Mapping[str, Any], *, chat_form: bool = False) -> None:
        """Finds known mistakes in ``--model_args`` with little time and no weights.

        Args:
            options: The options by name, ``device`` among them.
            chat_form: Whether the run asks in the model's chat form.

        Raises:
            EvaluationError: As the class itself, before anything is loaded.
        """
        cls._checked(options)
        found_ftllm()
        pretrained = options.get("pretrained") or DEFAULT_CHECKPOINT
        demo = demo_folder(pretrained)
        if demo or Path(pretrained).is_dir():
            folder = Path(demo or pretrained) / str(options.get("subfolder") or "")
            config = servable_config(str(folder), options)
            if chat_form:
                check_has_form(cls._read_tokenizer(Path(options.get("tokenizer") or folder), config, options))

    @classmethod
    def _checked(cls, options: Mapping[str, Any]) -> None:
        check_names(options, _OPTIONS)
        check_numbers(options)
        check_options(options)
        pretrained = options.get("pretrained")
        if pretrained is not None and not isinstance(pretrained, str):
            raise CheckpointError(
                f"pretrained is a {type(pretrained).__name__}; ftllm reads a folder. Save the model, and name it."
            )
        if pretrained and not demo_folder(pretrained):
            check_folder(pretrained)

    def _chat_rule(self, tokenizer: Any) -> str:
        return rule_of(tokenizer) or super()._chat_rule(tokenizer)

    @staticmethod
    def _read_tokenizer(folder: Path, config: Any, options: Mapping[str, Any]) -> Any:
        local = folder if folder.is_dir() else Path(local_checkpoint(str(folder), weights=False))
        llama = not isinstance(config, BaichuanConfig)
        own = checkpoint_tokenizer(local, llama=llama, add_bos_token=options.get("add_bos_token"))
        if own is None:
            raise TokenizerError(
                f"{local}: no tokenizer.model there, and only sentencepiece's own ids are asked of ftllm. Copy it from "
                "the original checkpoint, or pass tokenizer=FOLDER."
            )
        return own

    @property
    def max_length(self) -> int:
        """The context length in tokens."""
        return self._max_length

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token before a text without a context, as for lm-eval's hf model."""
        bos = self.tokenizer.bos_token_id
        return int(self.tokenizer.eos_token_id if bos is None else bos)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> Any:
        """Encodes as ``--model baichuan`` does, at most once while requests are encoded.

        Args:
            string: The text.
            add_special_tokens: Whether to add them; None for the tokenizer's way.
            kwargs: Not used.

        Returns:
            Token ids, `[tokens]`: a list, or while requests are encoded an array.
        """
        if add_special_tokens is None and string in self._requests.known:
            return self._requests.known[string]
        add = self.add_bos_token if add_special_tokens is None else add_special_tokens
        if add_special_tokens is None and string.startswith(self.tokenizer.decode(self.prefix_token_id)):
            add = False
        return self.tokenizer.encode(string, **({} if add is None else {"add_special_tokens": add}))

    def _loglikelihood_tokens(self, requests: list[Encoded], disable_tqdm: bool = False, **options: Any) -> Any:
        self._rows.check(ids for _, *both in requests for ids in both)
        pairs = [(context, continuation) for _, context, continuation in requests]
        self._certificate.scores(pairs, lambda some: dict(self._answers(some)))
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        for _, _, continuation in requests:
            self._asked["one_token" if len(continuation) == 1 else "token_by_token"] += 1
        with (
            self._told_of_a_stop(len(requests)) as done,
            tqdm(total=len(requests), desc="Scoring on ftllm", disable=disable_tqdm) as bar,
        ):
            for number, answer in self._answers(pairs):
                answers[number] = answer
                self._keep_answer(requests[number], answer)
                done.append(number)
                bar.update()
        return answers

    def _answers(self, pairs: Sequence[tuple[Any, Any]]) -> Iterator[tuple[int, tuple[float, bool]]]:
        """Number of a request, its log-likelihood and whether greedy decoding gives it, as they become known."""
        prompts = Prompts(pairs)
        for start in range(0, len(prompts.asked), _ORDER):
            order = prompts.asked[start : start + _ORDER]
            for number, (logprobs, best) in enumerate(self._engine.score(order, at_once=self.batch_size), start):
                yield from prompts.read(number, logprobs, best)

    @contextmanager
    def _told_of_a_stop(self, total: int) -> Iterator[list[int]]:
        """Where ftllm ends in mid-run, the error says what is kept."""
        done: list[int] = []
        try:
            yield done
        except EngineError as error:
            kept = (
                f"--use_cache keeps the {len(done)} of {total} finished answers; the same command goes on from there."
                if keeps_answers(self.cache_hook)
                else f"{len(done)} of {total} answers were finished; --use_cache PATH would have kept them."
            )
            raise EngineError(f"{error} {kept}") from error

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Refuses: ftllm gives logits at the end of a prompt alone, so a text would be run once a token.

        Raises:
            RequestError: Always.
        """
        tasks = ", ".join(sorted({request.task_name or "unnamed" for request in requests}))
        raise RequestError(
            f"{tasks} asks the log-likelihood of whole texts. ftllm gives logits at the end of a prompt alone, so each "
            "token of a text would be a prompt of its own. Use --model baichuan."
        )

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generates greedily, as ``--model baichuan`` does.

        Args:
            requests: Instances whose ``args`` are (context, options of the generation).
            disable_tqdm: Whether to hide the progress bar.

        Returns:
            Per request, in order: the generated text.

        Raises:
            EngineError: ftllm ended, or generated fewer tokens than it was asked for.
            RequestError: A request asks for more than greedy decoding, or leaves no room for its prompt.
        """
        ends = self._certificate.ends_of_generation()
        eos = self.tokenizer.decode([self.eot_token_id], skip_special_tokens=False)
        plans = [generation(request.args[1], self.max_gen_toks, eos) for request in requests]
        for request, plan in zip(requests, plans, strict=True):
            _check_greedy(request, plan.options)
            if plan.tokens >= self.max_length:
                raise RequestError(
                    f"Task {request.task_name}: {plan.tokens} tokens are to be generated, which leaves no room for a "
                    f"prompt in a context of {self.max_length}."
                )
        prompts = [
            self.tok_encode(request.args[0])[-(self.max_length - plan.tokens) :]
            for request, plan in zip(requests, plans, strict=True)
        ]
        self._rows.check(prompts)
        self._certificate.generation(prompts)
        texts = [""] * len(requests)
        with (
            self._keeping_answers(),
            self._told_of_a_stop(len(requests)) as done,
            tqdm(total=len(requests), desc="Generating on ftllm", disable=disable_tqdm) as bar,
        ):
            for number in sorted(range(len(requests)), key=lambda each: prompts[each]):  # what begins alike together
                plan = plans[number]
                texts[number] = self._generate(prompts[number], plan.tokens, plan.until, ends)
                self.cache_hook.add_partial("generate_until", requests[number].args, texts[number])
                self._asked["generated"] += 1
                done.append(number)
                bar.update()
        return texts

    def _generate(self, prompt: Sequence[int], tokens: int, until: Sequence[str], ends: Sequence[int]) -> str:
        found: list[int] = []
        text = ""
        steps = self._engine.generate(prompt, tokens)
        for token, _ in steps:
            found.append(token)
            text = self.tokenizer.decode(found, skip_special_tokens=True)
            if token in ends or any(each and each in text for each in until):
                steps.close()  # type: ignore[attr-defined]  # a generator
                break
        else:
            if len(found) != tokens:
                raise EngineError(
                    f"ftllm generated {len(found)} tokens after a prompt of {len(prompt)}, where {tokens} were asked "
                    "for and no token ended the text. Please report this."
                )
        return cut_generated(text, until)

    def _computed_with(self) -> dict[str, Any]:
        return {
            "arithmetic": ARITHMETIC,
            "scorer": f"ftllm {self._version}",
            "prepared": self._prepared.fingerprint,
            "dtype": self._dtype,
            **asked_with(self),
        }

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes into the results: the weights' dtype and, under `RESULTS_KEY`, all that moves a score."""
        return {"model_dtype": self._dtype, self.RESULTS_KEY: self._score_facts()}

    def _score_facts(self) -> dict[str, Any]:
        return {
            **package_facts("ftllm"),
            "engine": "ftllm",
            "engine_version": self._engine.version or self._version,
            "device": "cpu",
            "model_type": self._config.model_type,
            "processes": 1,
            "tensor_parallel": 1,
            "dtype": self._dtype,
            "quantization": None,
            "position_embedding": "rope",
            "norm_head": getattr(self._config, "norm_head", None),
            "own_window": getattr(self._config, "context_length", None) or self._config.max_position_embeddings,
            "scorer": "ftllm, prompts that begin alike one after the other",
            "prepared": {
                "folder": str(self._prepared.folder),
                "fingerprint": self._prepared.fingerprint,
                "made_by_this_run": self._prepared.made,
            },
            "asked": dict(self._asked),
            **self._asked_facts(),
        }


def _check_greedy(request: Instance, options: Mapping[str, Any]) -> None:
    if options.get("do_sample"):
        raise RequestError(
            f"Task {request.task_name} samples its answers (do_sample, temperature {options.get('temperature')}); on "
            "ftllm greedy decoding alone was compared with this package's model. Use --model baichuan."
        )
    others = [name for name, value in options.items() if name not in _OF_GREEDY and value is not None]
    if others:
        raise RequestError(
            f"Task {request.task_name} generates with {', '.join(others)}, which was not compared on ftllm with this "
            "package's model. Use --model baichuan."
        )
