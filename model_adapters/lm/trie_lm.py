"""`TrieLM`: lm-eval's Instances in, log-likelihoods out, every distinct token computed once.

A thin subclass of lm-eval's own `HFLM`, so that every option of ``--model hf`` keeps working; as ``--model hf-trie``
it takes any model that ``hf`` takes. What it adds: label tokens are the published ones where a task publishes any,
over-long prompts lose shots by the published rule, nothing is cut or scored silently, and the token trie does the work.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice, repeat
from typing import Any, Literal

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoTokenizer

from ..baichuan.quantized import describe_quantization, take_quantization
from ..errors import CheckpointError, OptionError, RequestError, UnsupportedModelError
from ..hosts.lm_eval import answers_in, keeps_answers, look_up_in_the_model, remembered, rolling_windows
from ..hosts.transformers import never_warn_of_length, tensor_parallel_size
from ..trie_scorer import Progress, TrieScorer
from ..trie_scorer.nonfinite import watch_logits
from ..trie_scorer.scorer import check_attention
from ..trie_scorer.trie.build import TokenIds
from .cache_fingerprint import check_cache, digest, fingerprint
from .chat import OWN_TEMPLATE, ChatForm, Message, check_has_form
from .embedding_rows import EmbeddingRows
from .label_tokens import check_encoding
from .model_args import check_device, check_folder, check_names, check_numbers, option_names, with_dtypes
from .processes import agree_on_budget, join_cpu_processes, rank_and_world_size
from .provenance import provenance
from .question_bar import QuestionBar
from .request_encoding import Encoded, RequestEncoding
from .run_facts import RunFacts
from .run_places import commit_if_possible, hold_cache, naming_the_cache, try_run_places
from .self_check import SelfCheck
from .shared_generation import SharedGeneration
from .task_tokens import count_by_task

logger = logging.getLogger(__name__)


class TrieLM(HFLM):
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
    """Under which name the results hold what `get_model_info` adds."""
    FURTHER_OPTIONS: Collection[str] | None = None
    """Options beside those of the classes and the loader; None: the keys of the checkpoint's configuration."""
    looks_up_answers = True
    """Whether `loglikelihood` itself looks answers up in the cache: the results tell of remembered answers too."""

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
        self._for_config = [name for name in kwargs if name not in self._option_names()]
        if trie not in (True, False, "auto"):
            raise OptionError(f"trie is {trie!r}; expected auto, true or false.")
        self._label_override = None if label_tokens is None else check_encoding(label_tokens, "--model_args")
        try_run_places()
        self._facts = RunFacts()
        self._facts_of_all = [self._facts]
        self._self_check = SelfCheck(self._facts, on=self_check)
        self._chat = ChatForm(system_text, self._chat_rule)
        join_cpu_processes()
        self._rank, self._world_size = 0, 1
        super().__init__(pretrained=self._locate(pretrained, kwargs), **kwargs)
        self._rank, self._world_size = rank_and_world_size(self)
        self._requests = RequestEncoding(self, self._facts, self._chat, self._label_override)
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

    def _chat_rule(self, tokenizer: Any) -> str:
        """What the results call the tokenizer's chat template."""
        return OWN_TEMPLATE

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

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Scores every (context, continuation).

        Args:
            requests: Instances whose ``args`` are (context, continuation) and whose ``doc`` may hold the fields of
                `label_tokens` and `prompt_shortening`.
            disable_tqdm: Whether to hide the progress bars.

        Returns:
            Per request, in order: the log-likelihood (natural logarithm) and whether greedy decoding gives it.
        """
        if self.enable_thinking:
            tasks = ", ".join(sorted({request.task_name or "unnamed" for request in requests}))
            raise RequestError(
                f"enable_thinking=true is for generated answers; {tasks} ranks given ones. Leave the option out."
            )
        self._facts.asked.note(requests)
        encoded = self._requests.encode(requests, hidden=disable_tqdm or self.rank != 0)
        for warning in self._facts.warnings():
            logger.warning(warning)
        answers = self._remembered_or_scored(encoded, disable_tqdm)
        self._count_tokens(requests, encoded)
        for warning in self._facts.count_ties(requests, answers):
            logger.warning(warning)
        return answers

    def _remembered_or_scored(self, encoded: list[Encoded], disable_tqdm: bool) -> list[tuple[float, bool]]:
        """Takes answers from the cache where it has any for just these token ids, and scores the other requests."""
        with naming_the_cache(self.cache_hook):
            cached = keeps_answers(self.cache_hook)
            known = [
                remembered(self.cache_hook, "loglikelihood", _key(one) or ()) if cached else None for one in encoded
            ]
        unknown = [request for request, answer in zip(encoded, known, strict=True) if answer is None]
        self._facts.remembered += len(encoded) - len(unknown)
        if len(unknown) < len(encoded):
            logger.info("%d of %d answers are taken from the cache.", len(encoded) - len(unknown), len(encoded))
        with self._keeping_answers():
            scored = iter(self._loglikelihood_tokens(unknown, disable_tqdm=disable_tqdm) if unknown else ())
        return [next(scored) if answer is None else answer for answer in known]

    @contextmanager
    def _keeping_answers(self) -> Iterator[None]:
        """However this block ends, what it put into the cache is written, which else happens some time later."""
        cache = answers_in(self.cache_hook)
        with naming_the_cache(self.cache_hook):
            try:
                yield
            except BaseException:
                if cache is not None:
                    commit_if_possible(cache)
                raise
            if cache is not None:
                cache.commit()

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
        plain = [(_key(request), *map(_as_list, request[1:])) for request in requests]
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

            cached = keeps_answers(self.cache_hook)
            for score in scorer.score_trie(trie, on_progress=show):
                answers[score.request] = answer = (score.logprob, score.is_greedy)
                if cached and (key := _key(requests[score.request])):
                    self.cache_hook.add_partial("loglikelihood", key, answer)
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

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Takes the cache of ``--use_cache``, once it is sure that it answers for this model and these settings.

        Raises:
            CacheError: It was filled by another model or under other settings, or does not say by which.
            PlaceError: Another run uses it, or it can't be written.
        """
        answers = answers_in(cache_hook)
        if answers is not None:
            hold_cache(answers)
            with naming_the_cache(cache_hook):
                check_cache(answers, fingerprint(self), answers.filename)
            look_up_in_the_model()
        super().set_cache_hook(cache_hook)

    @property
    def tokenizer_name(self) -> str:
        """By which ``--cache_requests`` knows the chat form of the requests it holds."""
        form = [self.tokenizer.chat_template, self.system_text, self.chat_template_args]
        return f"{super().tokenizer_name}-{digest(form)}"

    @property
    def label_override(self) -> str | None:
        """The label encoding that was asked for instead of what each task publishes."""
        return self._label_override

    @property
    def system_text(self) -> str:
        """Where a system text goes in the chat form."""
        return self._chat.system_text

    @property
    def scored_by_trie(self) -> bool:
        """Whether the token trie scores; otherwise lm-eval's own batches do."""
        return self._scorer is not None

    def apply_chat_template(self, chat_history: list[Message], add_generation_prompt: bool = True) -> str:
        """The text of a conversation in the model's own chat form (see `chat.ChatForm.render`)."""
        return self._chat.render(
            self.tokenizer, chat_history, add_generation_prompt=add_generation_prompt, **self.chat_template_args
        )

    def barrier(self) -> None:
        """Waits for all processes; each passes here after its requests, so their facts are gathered here."""
        self._facts_of_all = self.gather_object(self._facts)
        super().barrier()

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes into the results: HFLM's facts and, under `RESULTS_KEY`, what moves a score."""
        info: dict[str, Any] = super().get_model_info()
        info[self.RESULTS_KEY] = self._score_facts()
        return info

    def _score_facts(self) -> dict[str, Any]:
        plain = "lm-eval batches" + (f", because {self._not_served}" if self._not_served else "")
        return {
            **provenance(self),
            "model_type": self.config.model_type,
            "processes": self.world_size,
            "tensor_parallel": tensor_parallel_size(self.model),
            "dtype": str(getattr(self.model, "dtype", None)).removeprefix("torch."),
            "quantization": describe_quantization(getattr(self.model, "config", self.config)),
            "max_length": self.max_length,
            "own_window": own_window(self.model),
            "label_tokens_override": self._label_override,
            "chat_form": self._chat.facts(),
            "scorer": plain if self._scorer is None else f"token trie, {self._scorer.attention} attention",
            "token_budget": None if self._scorer is None else self._scorer.token_budget,
            **RunFacts.sum(self._facts_of_all).as_dict(),
        }


def own_window(model: Any) -> int | None:
    """The most tokens that a checkpoint says its model was made for; None where it says nothing."""
    config = model.config.get_text_config(decoder=True)
    stated = (getattr(config, name, None) for name in ("context_length", "max_position_embeddings", "model_max_length"))
    return next((int(length) for length in stated if length), None)


def _key(request: Encoded) -> tuple[str, str, list[int], list[int]] | None:
    """Under which the cache has an answer: texts and token ids. None for a window of a whole text, which has none."""
    texts, context_ids, continuation_ids = request
    return None if texts is None else (*texts, _as_list(context_ids), _as_list(continuation_ids))


def _as_list(ids: TokenIds) -> list[int]:
    return ids.tolist() if isinstance(ids, np.ndarray) else list(ids)


def _questions(requests: Iterable[Encoded]) -> list[Hashable]:
    """The question of each request: its context, or for a window of a whole text a number of its own."""
    return [number if key is None else key[0] for number, (key, *_) in enumerate(requests)]
