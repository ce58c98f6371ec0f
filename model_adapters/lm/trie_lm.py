"""`TrieLM`: lm-eval's Instances in, log-likelihoods out, every distinct token computed once.

A thin subclass of lm-eval's own `HFLM`, so that every option of ``--model hf`` keeps working; as ``--model hf-trie``
it takes any model that ``hf`` takes. What it adds: label tokens are the published ones where a task publishes any,
over-long prompts lose shots by the published rule, nothing is cut or scored silently, and the token trie does the work.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection, Hashable, Iterable, Mapping
from itertools import chain, islice, repeat
from typing import Any, Literal

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoTokenizer

from ..baichuan.quantized import describe_quantization, take_quantization
from ..errors import CheckpointError, OptionError, UnsupportedModelError
from ..hosts.lm_eval import rolling_windows
from ..hosts.transformers import never_warn_of_length, tensor_parallel_size
from ..trie_scorer import Progress, TrieScorer
from ..trie_scorer.nonfinite import watch_logits
from ..trie_scorer.scorer import check_attention
from .cache_fingerprint import fingerprint
from .chat import check_has_form
from .embedding_rows import EmbeddingRows
from .model_args import (
    check_device,
    check_folder,
    check_names,
    check_numbers,
    default_device,
    option_names,
    with_dtypes,
)
from .processes import agree_on_budget, join_cpu_processes, rank_and_world_size
from .provenance import provenance
from .published_requests import PublishedRequests, cache_key, id_list
from .question_bar import QuestionBar
from .request_encoding import Encoded
from .run_places import naming_the_cache, try_run_places
from .self_check import SelfCheck
from .shared_generation import SharedGeneration
from .task_tokens import count_by_task

logger = logging.getLogger(__name__)


class TrieLM(PublishedRequests, HFLM):
    """Every model that lm-eval's ``hf`` takes, scored over the token trie where the trie can serve it.

    Args:
        pretrained: A folder, a hub repository, or a loaded model.
        label_tokens: ``isolated``, ``bare`` or ``joint``, instead of what each task publishes.
        trie: ``auto``: the token trie scores, and a model that it cannot serve is scored by lm-eval's own batches,
            which the log and the results say; True: such a model stops the run; False: lm-eval's own batches score.
        token_budget: Tokens that the trie runs at once, or ``auto`` to choose by free memory.
        attention: How the trie attends: ``auto``, ``blockwise``, ``dense`` or ``flex`` (see `trie_scorer.TrieScorer`).
        system_text: With ``--apply_chat_template``, ``own`` leaves a system text to the model's chat form, and stops
            where that has no place for it; ``first_user`` puts it before the text of the first user turn; ``drop``
            leaves it out where the form has no place for it, as ``--model hf`` does, and the results say so.
        self_check: Whether to prove the fast ways on a few of the run's own requests first (see `self_check`).
        kwargs: Every option of lm-eval's ``hf`` model.

    Raises:
        OptionError: One of the options above has a value that it does not take.
        UnsupportedModelError: With ``trie=True``, the trie cannot serve the model.
    """

    RESULTS_KEY = "hf_trie"
    FURTHER_OPTIONS: Collection[str] | None = None
    """Options beside those of the classes and the loader; None: the keys of the checkpoint's configuration."""

    def __init__(
        self,
        pretrained: Any,
        label_tokens: str | None = None,
        trie: bool | Literal["auto"] = "auto",
        token_budget: int | Literal["auto"] = "auto",
        attention: Literal["auto", "blockwise", "dense", "flex"] = "auto",
        system_text: str = "own",
        self_check: bool = True,
        **kwargs: Any,
    ) -> None:
        """Loads model and tokenizer."""
        kwargs = self._checked({**kwargs, "token_budget": token_budget, "attention": attention})
        token_budget, attention = kwargs.pop("token_budget"), kwargs.pop("attention")
        kwargs["device"] = kwargs.get("device") or default_device()
        self._for_config = [name for name in kwargs if name not in self._option_names()]
        if trie not in (True, False, "auto"):
            raise OptionError(f"trie is {trie!r}; expected auto, true or false.")
        self._note_options(label_tokens, system_text)
        try_run_places()
        self._self_check = SelfCheck(self._facts, on=self_check)
        join_cpu_processes()
        self._rank, self._world_size = 0, 1
        super().__init__(pretrained=self._locate(pretrained, kwargs), **kwargs)
        self._rank, self._world_size = rank_and_world_size(self)
        self._take_requests()
        never_warn_of_length(self.tokenizer)
        self._shared = SharedGeneration(self, self._facts, check=self_check)
        self._rows = EmbeddingRows(self.tokenizer, self.model)
        window = own_window(self.model)
        if window is not None and self.max_length > window and self.rank == 0:
            logger.warning(
                "max_length=%d is beyond the %d tokens that the checkpoint states: what longer prompts score says "
                "little of the model. The results record both numbers.",
                self.max_length,
                window,
            )
        watch_logits(self.model)
        self._must_serve = trie is True
        self._not_served: str | None = None
        self._scorer = self._make_scorer(token_budget, attention) if trie else None
        agree_on_budget(self._scorer, self.model)

    @classmethod
    def check_model_args(cls, options: Mapping[str, Any], *, chat_form: bool = False) -> None:
        """Finds known mistakes in ``--model_args`` with little time and no weights.

        Args:
            options: The options by name, ``device`` among them.
            chat_form: Whether the run asks in the model's chat form.

        Raises:
            CheckpointError: The checkpoint's folder is not there.
            OptionError: An option is unknown or has a value that it does not take.
            RequestError: The model has no chat form.
        """
        options = cls._checked(options)
        pretrained = options.get("pretrained")
        if pretrained is None and inspect.signature(cls).parameters["pretrained"].default is inspect.Parameter.empty:
            raise OptionError("--model_args: pretrained is missing. Pass pretrained=FOLDER or a hub repository.")
        if isinstance(pretrained, str):
            cls._check_checkpoint(pretrained, options, chat_form)

    @classmethod
    def _checked(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with their dtypes under torch's names, once names and devices were found to be right."""
        check_names(options, cls._option_names(), others=cls.FURTHER_OPTIONS is None)
        check_device(options.get("device"), may_be_default=True)
        check_numbers(options)
        check_attention(options.get("attention", "auto"))
        return with_dtypes(options)

    @classmethod
    def _option_names(cls) -> set[str]:
        return option_names(cls, HFLM).union(cls.FURTHER_OPTIONS or (), {"torchao"})

    @classmethod
    def _check_checkpoint(cls, pretrained: str, options: Mapping[str, Any], chat_form: bool) -> None:
        """Looks at a checkpoint's folder, and with `chat_form` at its tokenizer; both raise what loading would."""
        check_folder(pretrained)
        if chat_form:
            where = {name: options[name] for name in ("revision", "subfolder", "trust_remote_code") if name in options}
            check_has_form(AutoTokenizer.from_pretrained(options.get("tokenizer") or pretrained, **where))

    def _get_config(self, pretrained: str, **kwargs: Any) -> None:
        try:
            super()._get_config(pretrained, **kwargs)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{pretrained}: no configuration could be read ({str(error).splitlines()[0]})."
            ) from error
        names = [name for name in self._for_config if not hasattr(self.config, name)]
        check_names(names, self._option_names().union(self.config.to_dict()))

    def _create_model(self, pretrained: str, dtype: str | torch.dtype | None = "auto", **kwargs: Any) -> None:
        # transformers takes load_in_4bit and the like in a configuration only
        asked = take_quantization(kwargs)
        if asked is not None:
            if dtype in (None, "auto"):
                dtype = getattr(self.config, "dtype", None) or torch.bfloat16
            dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
            kwargs["quantization_config"] = asked.config(self.config, dtype, self.device)
        super()._create_model(pretrained, dtype=dtype, **kwargs)

    def _locate(self, pretrained: Any, options: dict[str, Any]) -> Any:
        """What `HFLM` is to load instead of `pretrained`; called once the options of this class were checked."""
        if isinstance(pretrained, str):
            check_folder(pretrained)
        return pretrained

    def _make_scorer(
        self, token_budget: int | Literal["auto"], attention: Literal["auto", "blockwise", "dense", "flex"]
    ) -> TrieScorer | None:
        try:
            if self.backend != "causal":
                raise UnsupportedModelError(
                    f"{self.config.model_type} is an encoder and a decoder, and the token trie is of one decoder. "
                    "Use trie=False."
                )
            return TrieScorer(self.model, max_length=self.max_length, token_budget=token_budget, attention=attention)
        except UnsupportedModelError as error:
            self._do_without(error)
        return None

    def _do_without(self, refusal: UnsupportedModelError) -> None:
        """From now on lm-eval's own batches score, which the log says once; or stops where the trie was asked for."""
        if self._must_serve:
            raise refusal
        self._scorer = None
        self._not_served = str(refusal).removesuffix(" Use trie=False.").rstrip(".")
        if self.rank == 0:
            logger.warning("Scoring by lm-eval's own batches, because %s.", self._not_served)

    def _count_tokens(self, requests: Iterable[Instance], encoded: Iterable[Encoded]) -> None:
        """Notes what each task sent and what it took; `requests` has the Instance of each encoded one."""
        if self._scorer is not None:
            self._facts.add_tokens(
                count_by_task(
                    (request.task_name or "unnamed", request.doc_id, context_ids, continuation_ids)
                    for request, (_, context_ids, continuation_ids) in zip(requests, encoded, strict=True)
                )
            )

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generates as lm-eval's hf model does, once the KV cache has been compared with computing anew.

        Prompts with a common beginning run it once (see `shared_generation`).

        Args:
            requests: Instances whose ``args`` are (context, options of the generation).
            disable_tqdm: Whether to hide the progress bars.

        Returns:
            Per request, in order: the generated text.
        """
        contexts = [request.args[0] for request in requests]
        ids = [self.tok_encode(context) for context in contexts]
        self._rows.check(ids)
        self._self_check.generation(self, contexts)
        texts = [""] * len(requests)
        for group in self._shared.groups(ids):
            some = [requests[member] for member in group.members]
            with self._keeping_answers(), self._shared.sharing(group, ids):
                for member, text in zip(group.members, super().generate_until(some, disable_tqdm), strict=True):
                    texts[member] = text
        return texts

    def _model_generate(self, context: torch.Tensor, max_length: int, stop: list[str], **options: Any) -> torch.Tensor:
        ids, options = self._shared.arrange(context, options)
        generated: torch.Tensor = super()._model_generate(ids, max_length, stop, **options)
        return generated

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, left_truncate_len: int | None = None, **kwargs: Any
    ) -> Any:
        """Encodes as lm-eval's hf model does, at most once while requests are encoded.

        Args:
            string: The text.
            add_special_tokens: Whether to add them; None for the tokenizer's way.
            left_truncate_len: How many tokens to keep of the end; None for all.
            kwargs: Not used by lm-eval either.

        Returns:
            Token ids, `[tokens]`: a list, or while requests are encoded an array.
        """
        usual = add_special_tokens is None and not left_truncate_len
        if usual and string in self._requests.known:
            return self._requests.known[string]
        return super().tok_encode(string, add_special_tokens, left_truncate_len, **kwargs)

    def _loglikelihood_tokens(
        self, requests: list[Encoded], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        self._rows.check(ids for _, *both in requests for ids in both)
        if self._scorer is not None and requests:
            try:
                return self._score(self._scorer, requests, disable_tqdm)
            except UnsupportedModelError as error:  # some models show only while they run what they ask for
                self._do_without(error)
        if requests:
            self._self_check.not_needed()
        plain = [(cache_key(request), *map(id_list, request[1:])) for request in requests]
        scores: list[tuple[float, bool]] = super()._loglikelihood_tokens(plain, disable_tqdm, override_bs)
        return scores

    def _score(self, scorer: TrieScorer, requests: list[Encoded], disable_tqdm: bool) -> list[tuple[float, bool]]:
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        trie = scorer.build([(context_ids, continuation_ids) for _, context_ids, continuation_ids in requests])
        precision = self.mixed_precision_dtype
        with (
            torch.autocast(self.device.type, dtype=precision, enabled=precision is not None),
            QuestionBar(_questions(requests), hidden=disable_tqdm or self.rank != 0) as bar,
        ):
            self._self_check.scores(self, scorer, requests, trie)

            def show(progress: Progress) -> None:
                bar.show(progress)
                if progress.tokens_done == progress.tokens_total:
                    self._facts.tokens_sent += progress.tokens_sent
                    self._facts.tokens_run += progress.tokens_total

            for score in scorer.score_trie(trie, on_progress=show):
                answers[score.request] = answer = (score.logprob, score.is_greedy)
                self._keep_answer(requests[score.request], answer)
                bar.scored(score.request)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, cut into windows as lm-eval cuts them.

        Args:
            requests: Instances whose ``args`` are (text,).
            disable_tqdm: Whether to hide the progress bars.

        Returns:
            Per text, in order: its log-likelihood in nats.
        """
        if self._scorer is None:
            with self._keeping_answers():
                totals: list[float] = super().loglikelihood_rolling(requests, disable_tqdm)
            return totals
        windows: list[Encoded] = []
        counts = []
        for request in requests:
            before = len(windows)
            cut = rolling_windows(self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length)
            windows.extend((None, *window) for window in cut)
            counts.append(len(windows) - before)
        scores = iter(self._loglikelihood_tokens(windows, disable_tqdm))
        self._count_tokens(chain.from_iterable(map(repeat, requests, counts)), windows)
        totals = []
        for request, count in zip(requests, counts, strict=True):
            totals.append(sum(logprob for logprob, _ in islice(scores, count)))
            with naming_the_cache(self.cache_hook):
                self.cache_hook.add_partial("loglikelihood_rolling", request.args, totals[-1])
        return totals

    @property
    def scored_by_trie(self) -> bool:
        """Whether the token trie scores; otherwise lm-eval's own batches do."""
        return self._scorer is not None

    def _computed_with(self) -> dict[str, Any]:
        return fingerprint(self)

    def _score_facts(self) -> dict[str, Any]:
        plain = "lm-eval batches" + (f", because {self._not_served}" if self._not_served else "")
        return {
            **provenance(self),
            "model_type": self.config.model_type,
            "processes": self.world_size,
            "tensor_parallel": tensor_parallel_size(self.model),
            "dtype": str(getattr(self.model, "dtype", None)).removeprefix("torch."),
            "quantization": describe_quantization(getattr(self.model, "config", self.config)),
            "own_window": own_window(self.model),
            "scorer": plain if self._scorer is None else f"token trie, {self._scorer.attention} attention",
            "token_budget": None if self._scorer is None else self._scorer.token_budget,
            **self._asked_facts(),
        }


def own_window(model: Any) -> int | None:
    """The most tokens that a checkpoint says its model was made for; None where it says nothing."""
    config = model.config.get_text_config(decoder=True)
    stated = (getattr(config, name, None) for name in ("context_length", "max_position_embeddings", "model_max_length"))
    return next((int(length) for length in stated if length), None)


def _questions(requests: Iterable[Encoded]) -> list[Hashable]:
    """The question of each request: its context, or for a window of a whole text a number of its own."""
    return [number if key is None else key[0] for number, (key, *_) in enumerate(requests)]
