"""`BaichuanLM`: `TrieLM` for Baichuan checkpoints, which are read by this package's model family alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from ..baichuan import BaichuanConfig
from ..baichuan.auto_dtype import auto_dtype
from ..baichuan.chat_format import rule_of
from ..baichuan.checkpoint import hub_arguments, local_checkpoint
from ..baichuan.checkpoint_tokenizer import checkpoint_tokenizer
from ..baichuan.config_values import KINDS, override_config
from ..baichuan.ignored_values import ignored_config
from ..baichuan.layouts import CheckedCausalLM, check_model_object, checkpoint_config
from ..baichuan.peft_adapter import with_adapter
from ..baichuan.tokenizer_check import check_own_ids
from ..baichuan.tokenizer_files import FAST
from ..demo import demo_folder
from ..errors import CheckpointError, TokenizerError
from .before_loading import BeforeLoading
from .chat import check_has_form
from .model_args import check_folder
from .processes import check_tensor_parallel
from .trie_lm import TrieLM

logger = logging.getLogger(__name__)

DEFAULT_CHECKPOINT = "baichuan-inc/Baichuan-7B"


class BaichuanLM(TrieLM):
    """Baichuan checkpoints and their fine-tunes.

    Args:
        pretrained: A folder in the official layout, a hub repository, ``demo`` or ``demo-alibi`` (tiny checkpoints that
            come with this package), or a loaded model.
        dtype: ``auto`` means bfloat16 where the device has it, float16 on other GPUs, float32 on the CPU.
        trust_remote_code: Accepted and ignored: no code from a checkpoint is ever run.
        trie: Whether the token trie scores; otherwise lm-eval's own batches do, and ``auto`` is as for `TrieLM`.
        token_budget: Tokens that the trie runs at once, or ``auto`` to choose by free memory.
        check_memory: Whether to stop before loading what by the estimate doesn't fit (see `memory_plan`).
        kwargs: ``load_in_8bit``, ``load_in_4bit`` or ``torchao=int8``/``int4`` to quantize while loading, and every
            option of `TrieLM` and of lm-eval's ``hf`` model; what is left goes to the model's configuration
            (``norm_head=true`` for a fine-tune whose checkpoint does not say).

    Raises:
        CheckpointError: The checkpoint is missing, damaged, or of another model type.
        OptionError: An option is unknown, or asks for what is never done.
        TokenizerError: Its tokenizer is missing, damaged, or larger than the embedding.
    """

    RESULTS_KEY = "baichuan"
    AUTO_MODEL_CLASS = CheckedCausalLM
    FURTHER_OPTIONS = frozenset().union(*KINDS.values())

    def __init__(
        self,
        pretrained: Any = DEFAULT_CHECKPOINT,
        dtype: str | torch.dtype | None = "auto",
        trust_remote_code: bool | None = False,
        trie: bool | Literal["auto"] = True,
        token_budget: int | Literal["auto"] = "auto",
        check_memory: bool = True,
        **kwargs: Any,
    ) -> None:
        """Loads model and tokenizer."""
        kwargs = self._checked(kwargs)
        if trust_remote_code:
            logger.warning("trust_remote_code is ignored: --model baichuan never runs code from a checkpoint.")
        self._before = BeforeLoading.take(kwargs, trie=bool(trie), token_budget=token_budget, check=check_memory)
        kwargs.setdefault("backend", "causal")
        super().__init__(pretrained=pretrained, dtype=dtype, trie=trie, token_budget=token_budget, **kwargs)
        self._rows.require_all_but_added()

    @classmethod
    def _check_checkpoint(cls, pretrained: str, options: Mapping[str, Any], chat_form: bool) -> None:
        demo = demo_folder(pretrained)
        check_folder(pretrained)
        if not (chat_form or demo or Path(pretrained).is_dir()):
            return  # a repository on the hub: what is downloaded of it, is when it is loaded
        folder = Path(demo or local_checkpoint(pretrained, weights=False, **hub_arguments(options)))
        config = checkpoint_config(str(folder))
        if chat_form and not options.get("tokenizer"):
            tokenizer = checkpoint_tokenizer(folder, llama=not isinstance(config, BaichuanConfig), add_bos_token=None)
            if tokenizer is not None:
                check_has_form(tokenizer)

    def _locate(self, pretrained: Any, options: dict[str, Any]) -> Any:
        if not isinstance(pretrained, str):
            check_model_object(pretrained)
            return pretrained
        demo = demo_folder(pretrained)
        folder = str(demo) if demo else local_checkpoint(pretrained, **hub_arguments(options))
        options.pop("subfolder", None)  # the folder has it in its path
        return folder

    def _chat_rule(self, tokenizer: Any) -> str:
        """Which published rule the tokenizer's chat template is, or that it is the checkpoint's own."""
        return rule_of(tokenizer) or super()._chat_rule(tokenizer)

    def _get_config(self, pretrained: str, **kwargs: Any) -> None:
        self._config = checkpoint_config(pretrained, **kwargs)

    def _create_tokenizer(self, pretrained: Any, tokenizer: Any, **kwargs: Any) -> None:
        folder = tokenizer or getattr(pretrained, "name_or_path", pretrained)
        if not folder:
            raise TokenizerError("The model object does not say which folder it was read from. Pass tokenizer=FOLDER.")
        if not isinstance(folder, (str, Path)):
            super()._create_tokenizer(pretrained, tokenizer, **kwargs)
            check_own_ids(tokenizer)
            return
        local = Path(folder if Path(folder).is_dir() else local_checkpoint(folder, weights=False))
        llama = not isinstance(self._config, BaichuanConfig)
        own = checkpoint_tokenizer(local, llama=llama, add_bos_token=kwargs.get("add_bos_token"))
        if own is not None:
            self.tokenizer = own
            return
        logger.warning("%s: no tokenizer.model there; tokenizer.json may give other ids on some text.", local)
        try:
            super()._create_tokenizer(pretrained, str(local), **kwargs)
        except Exception as error:  # the tokenizers library raises no narrower one
            raise TokenizerError(
                f"{local}: {FAST}, or a file beside it, cannot be read as a tokenizer "
                f"({type(error).__name__}: {error}). Download the files again, or add the original tokenizer.model."
            ) from error

    def _create_model(
        self, pretrained: str, dtype: str | torch.dtype | None = "auto", peft: str | None = None, **kwargs: Any
    ) -> None:
        chosen = auto_dtype(self._device) if dtype in (None, "auto") else dtype
        kwargs = override_config(self._config, kwargs)
        check_tensor_parallel(self._config, peft, kwargs)
        kwargs = self._before.settle(kwargs, config=self._config, dtype=chosen, device=self._device)
        super()._create_model(pretrained, dtype=chosen, config=self._config, **kwargs)
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

    def _score_facts(self) -> dict[str, Any]:
        config = self.model.config
        return {
            **super()._score_facts(),
            "position_embedding": getattr(config, "position_embedding", None),
            "norm_head": getattr(config, "norm_head", None),
            "ignored_config": ignored_config(config),
        }
