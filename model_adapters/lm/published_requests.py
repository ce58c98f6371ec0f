"""`PublishedRequests`: how a lm-eval model of this package takes requests, whatever then computes their answers.

Label tokens are the published ones where a task publishes any, over-long prompts lose shots by the published rule,
answers of a cache are those of the same model and the same tokens, and the results tell what was asked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM

from ..errors import RequestError
from ..hosts.lm_eval import answers_in, keeps_answers, look_up_in_the_model, remembered
from ..trie_scorer.trie.build import TokenIds
from .cache_fingerprint import check_cache, digest
from .chat import OWN_TEMPLATE, ChatForm, Message
from .label_tokens import check_encoding
from .request_encoding import Encoded, RequestEncoding
from .run_facts import RunFacts
from .run_places import commit_if_possible, hold_cache, naming_the_cache

logger = logging.getLogger(__name__)


class PublishedRequests(TemplateLM):
    """Stands before a class of lm-eval that scores token ids and generates; that class is named behind it.

    A class of both calls `_take_requests` once its tokenizer is there, defines `RESULTS_KEY`, `_computed_with` and
    `_score_facts`, and takes what `_loglikelihood_tokens` is given: token ids as lists or arrays, and None instead of
    the texts of a window of a whole text.
    """

    RESULTS_KEY: str
    """Under which name the results hold what `get_model_info` adds."""
    looks_up_answers = True
    """Whether `loglikelihood` itself looks answers up in the cache: the results tell of remembered answers too."""
    enable_thinking: bool | None = None

    def _note_options(self, label_tokens: str | None, system_text: str) -> None:
        """Checks and keeps how requests are to be asked, before anything is loaded.

        Raises:
            OptionError: An option has a value that it does not take.
        """
        self._label_override = None if label_tokens is None else check_encoding(label_tokens, "--model_args")
        self._chat = ChatForm(system_text, self._chat_rule)
        self._facts = RunFacts()
        self._facts_of_all = [self._facts]

    def _take_requests(self) -> None:
        """From now on requests can be encoded: tokenizer and context length are known."""
        self._requests = RequestEncoding(self, self._facts, self._chat, self._label_override)

    def _chat_rule(self, tokenizer: Any) -> str:
        """What the results call the tokenizer's chat template."""
        return OWN_TEMPLATE

    def _computed_with(self) -> dict[str, Any]:
        """Everything that moves a score, in a form that JSON keeps (see `cache_fingerprint`)."""
        raise NotImplementedError

    def _score_facts(self) -> dict[str, Any]:
        """What a reader of the results must know, in a form that JSON keeps."""
        raise NotImplementedError

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
                remembered(self.cache_hook, "loglikelihood", cache_key(one) or ()) if cached else None
                for one in encoded
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

    def _keep_answer(self, request: Encoded, answer: tuple[float, bool]) -> None:
        """Puts one answer into the cache, where there is one, as soon as it is known."""
        if keeps_answers(self.cache_hook) and (key := cache_key(request)):
            self.cache_hook.add_partial("loglikelihood", key, answer)

    def _count_tokens(self, requests: Iterable[Instance], encoded: Iterable[Encoded]) -> None:
        """Notes what each task sent and what it took, where that is known before it is computed."""

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
                check_cache(answers, self._computed_with(), answers.filename)
            look_up_in_the_model()
        super().set_cache_hook(cache_hook)

    @property
    def tokenizer_name(self) -> str:
        """By which ``--cache_requests`` knows the chat form of the requests it holds."""
        form = [self.tokenizer.chat_template, self.system_text, self._chat_arguments]
        return f"{super().tokenizer_name}-{digest(form)}"

    @property
    def _chat_arguments(self) -> dict[str, Any]:
        """What the chat template is given beside the messages."""
        return dict(getattr(self, "chat_template_args", None) or {})

    @property
    def label_override(self) -> str | None:
        """The label encoding that was asked for instead of what each task publishes."""
        return self._label_override

    @property
    def system_text(self) -> str:
        """Where a system text goes in the chat form."""
        return self._chat.system_text

    def apply_chat_template(self, chat_history: list[Message], add_generation_prompt: bool = True) -> str:
        """The text of a conversation in the model's own chat form (see `chat.ChatForm.render`)."""
        return self._chat.render(
            self.tokenizer, chat_history, add_generation_prompt=add_generation_prompt, **self._chat_arguments
        )

    def barrier(self) -> None:
        """Waits for all processes; each passes here after its requests, so their facts are gathered here."""
        self._facts_of_all = self.gather_object(self._facts)
        super().barrier()

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval writes into the results: its own facts and, under `RESULTS_KEY`, what moves a score."""
        info: dict[str, Any] = super().get_model_info()
        info[self.RESULTS_KEY] = self._score_facts()
        return info

    def _asked_facts(self) -> dict[str, Any]:
        """What the results say of requests, of those of all processes."""
        return {
            "max_length": self.max_length,
            "label_tokens_override": self._label_override,
            "chat_form": self._chat.facts(),
            **RunFacts.sum(self._facts_of_all).as_dict(),
        }


def cache_key(request: Encoded) -> tuple[str, str, list[int], list[int]] | None:
    """Under which the cache has an answer: texts and token ids. None for a window of a whole text, which has none."""
    texts, context_ids, continuation_ids = request
    return None if texts is None else (*texts, id_list(context_ids), id_list(continuation_ids))


def id_list(ids: TokenIds) -> list[int]:
    """Token ids as a list, `[tokens]`."""
    return ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
