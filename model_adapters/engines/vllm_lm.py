"""`VLLMBaichuanLM`: Baichuan checkpoints on vLLM, under the published protocol.

A subclass of lm-eval's own ``VLLM``, whose options and whose engine, with its parallelism, stay vLLM's. What it adds:
label tokens and over-long prompts by the published rules (`lm.published_requests`), one generated token a question
where answers have one token (`label_asking`), and what the results say.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance

from ..baichuan import BaichuanForCausalLM
from ..baichuan.auto_dtype import auto_dtype
from ..baichuan.chat_format import rule_of
from ..baichuan.checkpoint import HUB_ARGUMENTS, hub_arguments, local_checkpoint
from ..baichuan.checkpoint_tokenizer import checkpoint_tokenizer
from ..baichuan.ignored_values import ignored_config
from ..baichuan.weight_files import weight_files
from ..demo import demo_folder
from ..errors import EngineError, EvaluationError
from ..hosts.lm_eval import rolling_windows
from ..hosts.transformers import never_warn_of_length
from ..hosts.vllm import dead_engine, ended_by_a_dead_engine, engine_option_names
from ..lm.cache_fingerprint import ARITHMETIC, asked_with, files_digest
from ..lm.chat import check_has_form
from ..lm.embedding_rows import EmbeddingRows
from ..lm.model_args import check_folder, check_names, check_numbers, default_device, with_dtypes
from ..lm.provenance import package_facts
from ..lm.published_requests import PublishedRequests, id_list
from ..lm.question_bar import QuestionBar
from ..lm.request_encoding import Encoded
from ..lm.run_places import try_run_places
from .family_options import FAMILY_OPTIONS
from .label_asking import check_prompt_logprobs, label_lists, questions, read_answers
from .vllm_checks import (
    check_options,
    found_vllm,
    lm_eval_vllm,
    newer_than_run,
    overrides,
    servable_config,
    window,
)

VLLM = lm_eval_vllm()

logger = logging.getLogger(__name__)

DEFAULT_CHECKPOINT = "baichuan-inc/Baichuan-7B"
AT_ONCE = 128
"""Questions, or texts to generate, given to the engine at once: so many answers are lost at most when it ends."""
_OWN_OPTIONS = ("label_tokens", "system_text", *FAMILY_OPTIONS, *HUB_ARGUMENTS, "device")
_NO_SCORE = ("model", "tokenizer", "tensor_parallel_size", "pipeline_parallel_size", "distributed_executor_backend")


class VLLMBaichuanLM(PublishedRequests, VLLM):  # type: ignore[valid-type]
    """Baichuan checkpoints on vLLM.

    Args:
        pretrained: A folder in the official layout, a hub repository, ``demo`` or ``demo-alibi``.
        dtype: ``auto`` means bfloat16 where the device has it, float16 on other GPUs, float32 on the CPU.
        label_tokens: ``isolated``, ``bare`` or ``joint``, instead of what each task publishes.
        system_text: As for `TrieLM`.
        kwargs: Every option of lm-eval's ``vllm`` model and of vLLM's engine (``tensor_parallel_size``,
            ``pipeline_parallel_size``, ``data_parallel_size``, ``distributed_executor_backend=ray``, ...), and
            ``norm_head`` or ``position_embedding`` for a fine-tune whose checkpoint does not say.

    Raises:
        CheckpointError: The checkpoint is missing, damaged, or of another model type.
        EngineError: vLLM's engine did not start.
        OptionError: An option is unknown, or asks for what is never done.
        UnsupportedModelError: vLLM cannot serve the model.
    """

    RESULTS_KEY = "baichuan_vllm"

    def __init__(
        self,
        pretrained: str = DEFAULT_CHECKPOINT,
        dtype: str | None = "auto",
        label_tokens: str | None = None,
        system_text: str = "own",
        trust_remote_code: bool | None = False,
        **kwargs: Any,
    ) -> None:
        """Starts the engine, once the checkpoint was looked at."""
        options = self._checked({**kwargs, "dtype": dtype})
        if trust_remote_code:
            logger.warning("trust_remote_code is ignored: --model baichuan-vllm never runs code from a checkpoint.")
        self._note_options(label_tokens, system_text)
        self._facts.unverified = "scored by vLLM, whose answers were not compared with this package's own model"
        self._asked = dict.fromkeys(
            ("questions", "labels", "longer_continuations", "prompt_tokens", "cached_tokens"), 0
        )
        try_run_places()
        self.vllm = found_vllm()
        self._newer = newer_than_run(self.vllm)
        if self._newer:
            logger.warning(self._newer)
        self.folder = _folder(pretrained, options)
        self.family = servable_config(self.folder, options)
        length = window(self.family, options)
        named = options.get("tokenizer")
        tokenizer = Path(self.folder if not named else named if Path(named).is_dir() else _folder(named, {}))
        own = checkpoint_tokenizer(tokenizer, llama=False, add_bos_token=options.get("add_bos_token"))
        with torch.device("meta"):
            rows = EmbeddingRows(own, BaichuanForCausalLM(self.family))
        rows.require_all_but_added()
        dtype = options.pop("dtype")
        if dtype in (None, "auto"):
            dtype = str(auto_dtype(torch.device(default_device()))).removeprefix("torch.")
        dropped = (*_OWN_OPTIONS, "max_length", "max_model_len", "tokenizer", "batch_size", "trust_remote_code")
        # A prompt may fill the window, and one token more is generated, or read as the last of a continuation.
        room = length + 2
        with self._engine("did not start"):
            super().__init__(
                pretrained=self.folder,
                dtype=dtype,
                tokenizer=str(tokenizer),
                max_length=room,
                batch_size=AT_ONCE,
                hf_overrides=overrides(self.family, room),
                logprobs_mode="raw_logprobs",
                **{"enable_prefix_caching": True}
                | {name: value for name, value in options.items() if name not in dropped},
            )
        self._max_length = length
        self.tokenizer, self._rows = own, rows
        never_warn_of_length(own)
        self._take_requests()

    @classmethod
    def check_model_args(cls, options: Mapping[str, Any], *, chat_form: bool = False) -> None:
        """Finds known mistakes in ``--model_args`` with little time, and without starting an engine.

        Args:
            options: The options by name, ``device`` among them.
            chat_form: Whether the run asks in the model's chat form.

        Raises:
            EvaluationError: As for the class; or the model has no chat form.
        """
        options = cls._checked(options)
        pretrained = str(options.get("pretrained") or DEFAULT_CHECKPOINT)
        check_folder(pretrained)
        folder = demo_folder(pretrained) or Path(pretrained)
        if folder.is_dir():  # a repository on the hub: what is downloaded of it, is when it is loaded
            servable_config(str(folder / str(options.get("subfolder") or "")), options)
            if chat_form and not options.get("tokenizer"):
                check_has_form(checkpoint_tokenizer(folder, llama=False, add_bos_token=None))

    @classmethod
    def _checked(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options, dtypes under torch's names, once they were found to be known and possible."""
        known = {name for each in cls.__mro__[: cls.__mro__.index(VLLM) + 1] for name in _parameters(each)}
        check_names(options, known | engine_option_names() | set(_OWN_OPTIONS))
        check_numbers(options)
        check_options(options)
        return with_dtypes(options)

    def _chat_rule(self, tokenizer: Any) -> str:
        return rule_of(tokenizer) or super()._chat_rule(tokenizer)

    @contextmanager
    def _engine(self, what: str = "has ended before its last answer") -> Iterator[None]:
        """Inside this block, an engine that ends, or does not start, is told of by an error of this package's."""
        try:
            yield
        except EvaluationError:
            raise
        except dead_engine() as error:
            raise EngineError(
                f"vLLM's engine {what}: its process was killed, or failed (its log above says so). With --use_cache "
                "PATH, answers given before are kept, and the same command goes on from there."
            ) from error
        except RuntimeError as error:
            if what != "did not start":
                raise
            raise EngineError(
                f"vLLM's engine {what} ({str(error).splitlines()[0] if str(error) else type(error).__name__}). Its log "
                "above says why."
            ) from error

    def _loglikelihood_tokens(self, requests: list[Encoded], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        self._rows.check(ids for _, *both in requests for ids in both)
        answers = [(0.0, False)] * len(requests)
        ids = [(id_list(context), id_list(continuation)) for _, context, continuation in requests]
        self._facts.tokens_sent += sum(len(context) + len(continuation) - 1 for context, continuation in ids)
        of_question = [number if texts is None else texts[0] for number, (texts, *_) in enumerate(requests)]
        with self._engine(), QuestionBar(of_question, hidden=disable_tqdm) as bar:
            for number, answer in self._answers(ids):
                answers[number] = answer
                self._keep_answer(requests[number], answer)
                bar.scored(number)
        return answers

    def _answers(self, requests: Sequence[tuple[list[int], list[int]]]) -> Iterator[tuple[int, tuple[float, bool]]]:
        """Answers as they come, with the numbers of their requests, which are pairs of token ids."""
        from vllm import SamplingParams

        of_one = [(n, context, tokens[0]) for n, (context, tokens) in enumerate(requests) if len(tokens) == 1]
        for some in self._portions(questions(of_one)):
            params = [
                SamplingParams(max_tokens=1, temperature=0, detokenize=False, logprob_token_ids=labels)
                for labels in label_lists(some)
            ]
            outputs = self._generated([list(question.context) for question in some], params)
            for question, output in zip(some, outputs, strict=True):
                (first,) = output.outputs
                self._asked["questions"] += 1
                self._asked["labels"] += len(question.labels)
                for label, answer in read_answers(question, first.token_ids[0], first.logprobs[0]).items():
                    yield from ((number, answer) for number in question.labels[label])
        longer = [number for number, (_, tokens) in enumerate(requests) if len(tokens) > 1]
        for portion in self._portions(sorted(longer, key=lambda number: requests[number])):
            params = SamplingParams(max_tokens=1, temperature=0, detokenize=False, prompt_logprobs=1)
            prompts = [requests[number][0] + requests[number][1] for number in portion]
            outputs = self._generated(prompts, [params] * len(portion))
            for number, prompt, output in zip(portion, prompts, outputs, strict=True):
                self._asked["longer_continuations"] += 1
                start = len(requests[number][0])
                check_prompt_logprobs(prompt[start:], output.prompt_logprobs[start:])
                logprob, is_greedy = self._parse_logprobs(tokens=prompt, outputs=output, ctxlen=start)
                yield number, (float(logprob), is_greedy)

    def _portions(self, asked: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """Parts of what is asked; all at once where lm-eval starts engines anew for every call (data parallel)."""
        size = AT_ONCE if self.data_parallel_size <= 1 else max(1, len(asked))
        return (asked[start : start + size] for start in range(0, len(asked), size))

    def _generated(self, prompts: list[list[int]], params: list[Any]) -> Any:
        """What the engine gives for prompts of token ids; counts what its cache of prefixes had of them."""
        if self.data_parallel_size > 1:
            outputs = self._model_generate(prompts, generate=True, sampling_params=params)
        else:
            with self._watched():
                outputs = self.model.generate(
                    [{"prompt_token_ids": prompt} for prompt in prompts], sampling_params=params, use_tqdm=False
                )
        tokens, cached = sum(map(len, prompts)), sum(output.num_cached_tokens or 0 for output in outputs)
        self._asked["prompt_tokens"] += tokens
        self._asked["cached_tokens"] += cached
        self._facts.tokens_run += tokens - cached
        return outputs

    def _watched(self) -> AbstractContextManager[None]:
        return ended_by_a_dead_engine(self.model) if self.data_parallel_size <= 1 else nullcontext()

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, cut into the windows of `TrieLM`.

        Args:
            requests: Instances whose ``args`` are (text,).
            disable_tqdm: Whether to hide the progress bars.

        Returns:
            Per text, in order: its log-likelihood in nats.
        """
        totals = []
        for request in requests:
            cut = rolling_windows(self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length)
            scores = self._loglikelihood_tokens([(None, *part) for part in cut], disable_tqdm=True)
            totals.append(sum(logprob for logprob, _ in scores))
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, totals[-1])
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generates as lm-eval's vllm model does.

        Args:
            requests: Instances whose ``args`` are (context, options of the generation).
            disable_tqdm: Whether to hide the progress bars.

        Returns:
            Per request, in order: the generated text.
        """
        self._rows.check(self.tok_encode(request.args[0]) for request in requests)
        with self._engine(), self._keeping_answers(), self._watched():
            texts: list[str] = super().generate_until(requests, disable_tqdm)
        return texts

    @staticmethod
    def modify_gen_kwargs(
        gen_kwargs: dict[str, Any], eos: Any = None, default_max_gen_toks: int = 256
    ) -> tuple[dict[str, Any], list[str], int]:
        """lm-eval's options of a generation as vLLM's, with what ``--model baichuan`` does where they say nothing.

        Greedy decoding, where vLLM's own default would sample; and special tokens are no text.
        """
        options, until, most = VLLM.modify_gen_kwargs(gen_kwargs, eos=eos, default_max_gen_toks=default_max_gen_toks)
        options["skip_special_tokens"] = gen_kwargs.get("skip_special_tokens", True)
        if not gen_kwargs.get("do_sample"):
            options.setdefault("temperature", 0.0)
        return options, until, most

    def tok_encode(self, string: Any, add_special_tokens: bool | None = None, **kwargs: Any) -> Any:
        """Encodes as lm-eval's vllm model does, at most once while requests are encoded.

        Args:
            string: The text, or several.
            add_special_tokens: Whether to add them; None for the tokenizer's way.
            kwargs: Of the tokenizer.

        Returns:
            Token ids, `[tokens]`: a list, or while requests are encoded an array; of several texts a list of these.
        """
        if isinstance(string, str) and add_special_tokens is None and string in self._requests.known:
            return self._requests.known[string]
        return super().tok_encode(string, add_special_tokens, **kwargs)

    def _computed_with(self) -> dict[str, Any]:
        config = self.family.to_dict()
        return {
            "arithmetic": ARITHMETIC,
            "weights": files_digest(weight_files(self.folder)),
            "scorer": "vllm",
            "vllm": self.vllm.version,
            **{f"vllm.{name}": str(value) for name, value in sorted(self.model_args.items()) if name not in _NO_SCORE},
            **asked_with(self),
            **{f"config.{name}": config[name] for name in ("position_embedding", "norm_head", "rope_theta")},
        }

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes into the results: the weights' dtype and, under `RESULTS_KEY`, what moves a score."""
        return {"model_dtype": self.model_args["dtype"], self.RESULTS_KEY: self._score_facts()}

    def _score_facts(self) -> dict[str, Any]:
        asked, tokens = self._asked, self._asked["prompt_tokens"]
        engine = {
            "name": "vllm",
            "distribution": self.vllm.distribution,
            "version": self.vllm.version,
            "newer_than_run": self._newer,
            **{
                name: int(self.model_args.get(name) or 1) for name in ("tensor_parallel_size", "pipeline_parallel_size")
            },
            "data_parallel_size": self.data_parallel_size,
            "distributed_executor_backend": self.model_args.get("distributed_executor_backend"),
            "dtype": self.model_args["dtype"],
            "kv_cache_dtype": self.model_args.get("kv_cache_dtype", "auto"),
            "longest_sequence": self.model_args["max_model_len"],
            "asked": {
                "one_generated_token": asked["questions"],
                "labels_of_these": asked["labels"],
                "prompt_logprobs": asked["longer_continuations"],
            },
            "prompt_tokens": tokens,
            "cached_tokens": asked["cached_tokens"],
            "cached_share": round(asked["cached_tokens"] / tokens, 4) if tokens else None,
        }
        return {
            **package_facts(self.vllm.distribution),
            "device": default_device(),
            "model_type": self.family.model_type,
            "dtype": self.model_args["dtype"],
            "quantization": self.model_args.get("quantization"),
            "own_window": self.family.context_length,
            "scorer": f"vLLM {self.vllm.version}",
            "engine": engine,
            "position_embedding": self.family.position_embedding,
            "norm_head": self.family.norm_head,
            "ignored_config": ignored_config(self.family),
            **self._asked_facts(),
        }


def _folder(pretrained: str, options: Mapping[str, Any]) -> str:
    demo = demo_folder(pretrained)
    return str(demo) if demo else local_checkpoint(pretrained, **hub_arguments(options))


def _parameters(cls: type) -> set[str]:
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {each.name for each in parameters if each.kind is not each.VAR_KEYWORD} - {"self"}
