"""`BaichuanLM`: lm-eval's Instances in, log-likelihoods out.

A thin subclass of lm-eval's own `HFLM`, so that every option of ``--model hf`` keeps working. What it adds: the
checkpoint is read by this package's model family, the label tokens are the published ones, over-long prompts lose shots
by the published rule, nothing is cut or scored silently, and the token trie does the work.
"""

from __future__ import annotations

import logging
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from ..baichuan import BaichuanConfig
from ..baichuan.checkpoint import hub_arguments, local_checkpoint
from ..baichuan.checkpoint_tokenizer import checkpoint_tokenizer
from ..baichuan.peft_adapter import with_adapter
from ..baichuan.quantized import describe_quantization, read_quantization
from ..errors import CheckpointError, RequestError, TokenizerError
from ..trie_scorer import Progress, TrieScorer
from ..trie_scorer.nonfinite import watch_logits
from .before_loading import BeforeLoading
from .chat import ChatForm, Message
from .label_tokens import check_encoding, label_id
from .processes import agree_on_budget, check_tensor_parallel, join_cpu_processes, rank_and_world_size
from .prompt_shortening import shorten, shot_layout
from .run_facts import RunFacts

logger = logging.getLogger(__name__)

DEFAULT_CHECKPOINT = "baichuan-inc/Baichuan-7B"
DEMO_CHECKPOINTS = {"demo": "rope", "demo-alibi": "alibi"}

Encoded = tuple[tuple[str, str] | None, list[int], list[int]]


class BaichuanLM(HFLM):
    """Baichuan checkpoints and their fine-tunes.

    Args:
        pretrained: A folder in the official layout, a hub repository, ``demo`` or ``demo-alibi`` (tiny checkpoints that
            come with this package), or a loaded model.
        label_tokens: ``isolated``, ``bare`` or ``joint``, instead of what each task publishes.
        dtype: ``auto`` means bfloat16 where the device has it, float16 on other GPUs, float32 on the CPU.
        trust_remote_code: Accepted and ignored: no code from a checkpoint is ever run.
        trie: Whether the token trie scores; otherwise lm-eval's own batches do.
        token_budget: Tokens that the trie runs at once, or ``auto`` to choose by free memory.
        attention: How the trie attends: ``auto``, ``blockwise``, ``dense`` or ``flex`` (see `trie_scorer.TrieScorer`).
        system_text: With ``--apply_chat_template``, ``own`` leaves a system text to the model's chat form, which may
            have no place for it; ``first_user`` puts it before the text of the first user turn.
        check_memory: Whether to stop before loading what by the estimate doesn't fit (see `memory_plan`).
        kwargs: ``load_in_8bit``, ``load_in_4bit`` or ``torchao=int8``/``int4`` to quantize while loading, and every
            other option of lm-eval's ``hf`` model; what is left goes to the model's configuration (``norm_head=true``
            for a fine-tune whose checkpoint does not say).

    Raises:
        CheckpointError: The checkpoint is missing, damaged, or of another model type.
        TokenizerError: Its tokenizer is missing, damaged, or larger than the embedding.
    """

    def __init__(
        self,
        pretrained: Any = DEFAULT_CHECKPOINT,
        label_tokens: str | None = None,
        dtype: str | torch.dtype | None = "auto",
        trust_remote_code: bool | None = False,
        trie: bool = True,
        token_budget: int | Literal["auto"] = "auto",
        attention: Literal["auto", "blockwise", "dense", "flex"] = "auto",
        system_text: str = "own",
        check_memory: bool = True,
        **kwargs: Any,
    ) -> None:
        """Loads model and tokenizer."""
        if trust_remote_code:
            logger.warning("trust_remote_code is ignored: --model baichuan never runs code from a checkpoint.")
        self._label_override = None if label_tokens is None else check_encoding(label_tokens, "--model_args")
        self._facts = RunFacts()
        self._facts_of_all = [self._facts]
        self._chat = ChatForm(system_text)
        self._before = BeforeLoading.take(kwargs, trie=trie, token_budget=token_budget, check=check_memory)
        join_cpu_processes()
        if isinstance(pretrained, str):
            pretrained = _resolve(pretrained, kwargs)
        kwargs.setdefault("backend", "causal")
        self._rank, self._world_size = 0, 1
        super().__init__(pretrained=pretrained, dtype=dtype, trust_remote_code=False, **kwargs)
        self._rank, self._world_size = rank_and_world_size(self)
        _check_vocabulary(self.tokenizer, self.model)
        watch_logits(self.model)
        self._scorer = (
            TrieScorer(self.model, max_length=self.max_length, token_budget=token_budget, attention=attention)
            if trie
            else None
        )
        agree_on_budget(self._scorer, self.model)

    def _get_config(self, pretrained: str, **kwargs: Any) -> None:
        super()._get_config(pretrained, **kwargs)
        if self._config.model_type not in ("baichuan", "llama"):
            raise CheckpointError(
                f"{pretrained}: config.json says model_type {self._config.model_type!r}; --model baichuan reads "
                "'baichuan', and 'llama' for fine-tunes saved in that form. Use --model hf for other models."
            )
        if isinstance(self._config, BaichuanConfig):
            read_quantization(pretrained, self._config)

    def _create_tokenizer(self, pretrained: Any, tokenizer: Any, **kwargs: Any) -> None:
        folder = tokenizer or pretrained
        if isinstance(folder, str):
            local = Path(folder if Path(folder).is_dir() else local_checkpoint(folder))
            llama = not isinstance(self._config, BaichuanConfig)
            self.tokenizer = checkpoint_tokenizer(local, llama=llama, add_bos_token=kwargs.get("add_bos_token"))
            if self.tokenizer is not None:
                return
            logger.warning("%s: no tokenizer.model there; tokenizer.json may give other ids on some text.", local)
        super()._create_tokenizer(pretrained, tokenizer, **kwargs)

    def _create_model(
        self, pretrained: str, dtype: str | torch.dtype | None = "auto", peft: str | None = None, **kwargs: Any
    ) -> None:
        chosen = auto_dtype(self._device) if dtype in (None, "auto") else dtype
        check_tensor_parallel(self._config, peft, kwargs)
        kwargs = self._before.settle(kwargs, config=self._config, dtype=chosen, device=self._device)
        super()._create_model(pretrained, dtype=chosen, **kwargs)
        if peft:
            self._model = with_adapter(self.model, peft, **kwargs)

    @property
    def max_length(self) -> int:
        """The context length in tokens: ``max_length`` if given, else what the checkpoint states.

        Raises:
            CheckpointError: Neither says.
        """
        if self._max_length:
            return int(self._max_length)
        config = self.model.config
        if not isinstance(config, BaichuanConfig):
            return int(super().max_length)
        if config.context_length is None:
            raise CheckpointError(
                "config.json states neither max_position_embeddings nor model_max_length. Pass max_length=N."
            )
        return int(config.context_length)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Scores every (context, continuation).

        Args:
            requests: Instances whose ``args`` are (context, continuation) and whose ``doc`` may hold the fields of
                `label_tokens` and `prompt_shortening`.
            disable_tqdm: Whether to hide the progress bars.

        Returns:
            Per request, in order: the log-likelihood (natural logarithm) and whether greedy decoding gives it.
        """
        fitted: dict[str, tuple[str, list[int]]] = {}
        encoded = [
            self._encode(request, fitted)
            for request in tqdm(requests, desc="Tokenizing", disable=disable_tqdm or self.rank != 0)
        ]
        for warning in self._facts.warnings():
            logger.warning(warning)
        return self._loglikelihood_tokens(encoded, disable_tqdm=disable_tqdm)

    def _encode(self, request: Instance, fitted: dict[str, tuple[str, list[int]]]) -> Encoded:
        """Turns one request into token ids; `fitted` remembers each context's text and ids after shortening."""
        key = context, continuation = request.args
        task = request.task_name or "unnamed"
        doc = request.doc if isinstance(request.doc, dict) else {}
        encoding = self._label_encoding(doc, task)
        context_ids = [self.prefix_token_id]
        if context and (encoding != "joint" or "shot_lengths" in doc):
            if context not in fitted:
                fitted[context] = self._fit(context, doc, task)
            context, context_ids = fitted[context]
        if encoding == "joint":
            context_ids, continuation_ids = self._encode_jointly(context, continuation)
        else:
            continuation_ids = [label_id(self.tokenizer, continuation.strip(), encoding)]
        if not 0 < len(continuation_ids) <= self.max_length:
            raise RequestError(
                f"Task {task}: the continuation {continuation[:80]!r} has {len(continuation_ids)} tokens; expected 1 "
                f"to {self.max_length}, the context length of this model."
            )
        window = self.max_length - len(continuation_ids) + 1
        if len(context_ids) > window:
            self._facts.truncated[task].add(request.doc_id)
            context_ids = context_ids[-window:]
        return key, context_ids, continuation_ids

    def _label_encoding(self, doc: dict[str, Any], task: str) -> str:
        published = doc.get("label_tokens")
        if published is None:
            return "joint"
        encoding = self._label_override or check_encoding(published, f"task {task}")
        self._facts.label_encodings[encoding].add(task)
        return encoding

    def _encode_jointly(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        if context:
            pair: tuple[list[int], list[int]] = self._encode_pair(context, continuation)
            return pair
        ids = self.tok_encode(continuation, add_special_tokens=False)
        # As lm-eval does: an empty context is one prefix token, unless the continuation brings it along.
        return (ids[:1], ids[1:]) if ids[:1] == [self.prefix_token_id] else ([self.prefix_token_id], ids)

    def _fit(self, context: str, doc: dict[str, Any], task: str) -> tuple[str, list[int]]:
        """Drops shots by the task's rule where the context is too long: its text and token ids."""
        ids = self.tok_encode(context)
        limit = min(self.max_length, int(doc.get("max_prompt_tokens") or self.max_length))
        layout = (self._chat.layout(context, doc) or shot_layout(context, doc)) if len(ids) > limit else None
        if layout is None:
            return context, ids
        text, dropped = shorten(layout, self.tok_encode, limit)
        self._facts.shortened[task][dropped] += 1
        return text, self.tok_encode(text)

    def _loglikelihood_tokens(
        self, requests: list[Encoded], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        if self._scorer is None or not requests:
            scores: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
            return scores
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        with tqdm(total=len(requests), desc="Scoring", unit="request", disable=disable_tqdm or self.rank != 0) as bar:

            def show(progress: Progress) -> None:
                bar.set_postfix_str(_describe(progress))
                if progress.tokens_done == progress.tokens_total:
                    self._facts.tokens_sent += progress.tokens_sent
                    self._facts.tokens_run += progress.tokens_total

            pairs = [(context_ids, continuation_ids) for _, context_ids, continuation_ids in requests]
            for score in self._scorer.score(pairs, on_progress=show):
                answers[score.request] = answer = (score.logprob, score.is_greedy)
                key = requests[score.request][0]
                if key is not None:  # a window of a rolling request has no key of its own
                    self.cache_hook.add_partial("loglikelihood", key, answer)
                bar.update()
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
            totals: list[float] = super().loglikelihood_rolling(requests, disable_tqdm)
            return totals
        windows: list[Encoded] = []
        counts = []
        for request in requests:
            cut = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            before = len(windows)
            windows.extend((None, *make_disjoint_window(window)) for window in cut)
            counts.append(len(windows) - before)
        scores = iter(self._loglikelihood_tokens(windows, disable_tqdm))
        totals = []
        for request, count in zip(requests, counts, strict=True):
            totals.append(sum(logprob for logprob, _ in islice(scores, count)))
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, totals[-1])
        return totals

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
        """What lm-eval writes into the results: HFLM's facts and, under ``baichuan``, everything that moves a score."""
        config = self.model.config
        info: dict[str, Any] = super().get_model_info()
        info["baichuan"] = {
            "model_type": config.model_type,
            "position_embedding": getattr(config, "position_embedding", None),
            "norm_head": getattr(config, "norm_head", None),
            "processes": self.world_size,
            "tensor_parallel": getattr(self.model, "_tp_size", None) or 1,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "quantization": describe_quantization(config),
            "max_length": self.max_length,
            "label_tokens_override": self._label_override,
            "chat_form": self._chat.facts(),
            "scorer": "lm-eval batches" if self._scorer is None else f"token trie, {self._scorer.attention} attention",
            "token_budget": None if self._scorer is None else self._scorer.token_budget,
            **RunFacts.sum(self._facts_of_all).as_dict(),
        }
        return info


def auto_dtype(device: torch.device) -> torch.dtype:
    """The dtype that ``auto`` means: bfloat16 where the device has it, float16 on other GPUs, float32 on the CPU."""
    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    try:
        torch.zeros(1, dtype=torch.bfloat16, device=device)
    except (RuntimeError, TypeError):
        return torch.float16
    return torch.bfloat16


def _resolve(pretrained: str, kwargs: dict[str, Any]) -> str:
    """The folder that holds the checkpoint."""
    if pretrained in DEMO_CHECKPOINTS:
        return str(Path(__file__).parents[1] / "demo" / DEMO_CHECKPOINTS[pretrained])
    return local_checkpoint(pretrained, **hub_arguments(kwargs))


def _check_vocabulary(tokenizer: Any, model: Any) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise TokenizerError(
            f"The tokenizer has {len(tokenizer)} tokens, but the model's embedding has {rows} rows: some text would "
            "have no embedding. Use the tokenizer that belongs to this checkpoint (tokenizer=FOLDER)."
        )


def _describe(progress: Progress) -> str:
    left = progress.seconds_left
    remaining = "" if left is None else f", {tqdm.format_interval(left)} left"
    return f"{progress.tokens_per_second:.0f} tokens/s, {progress.saved_share:.0%} of tokens saved{remaining}"
