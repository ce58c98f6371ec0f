"""Loading: what transformers needs to know about the family, and the checks that it does not make.

Transformers warns about missing tensors and fills them with random numbers; here every difference stops the run.
"""

from __future__ import annotations

import logging
from typing import Any

from transformers import PreTrainedModel

from .checkpoint import HUB_ARGUMENTS, hub_arguments, local_checkpoint, modelling_source
from .config_values import read_config
from .configuration import BaichuanConfig
from .family import settle_family
from .loading import ROTARY_BUFFERS, load_checked
from .quantized import check_quantized, read_quantization

logger = logging.getLogger(__name__)

OFFICIAL_THETA = 10000.0


class BaichuanPreTrainedModel(PreTrainedModel):
    """What transformers needs to know about the family."""

    config: BaichuanConfig
    config_class = BaichuanConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["BaichuanDecoderLayer"]
    _skip_keys_device_placement = ["cache", "past_key_values", "kv_cache"]
    _supports_sdpa = True
    _supports_attention_backend = True
    _keys_to_ignore_on_load_unexpected = [ROTARY_BUFFERS]

    def __init__(self, config: BaichuanConfig, *args: Any, **kwargs: Any) -> None:
        """Settles the architecture, so that a configuration that leaves it open stops here."""
        settle_family(config, where=config.name_or_path or "this configuration")
        super().__init__(config, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, *args: Any, config: Any = None, **kwargs: Any) -> Any:
        """Loads a checkpoint folder or hub repository; arguments as for transformers.

        Beyond what transformers checks, every tensor must be there, with the right shape, and no other; the
        checkpoint's Python is never run, whatever `trust_remote_code` says.

        Raises:
            CheckpointError: A file or tensor is missing, damaged, unexpected or misshapen, or the architecture is open.
            QuantizationError: The weights are quantized in a form that cannot be read here.
            OptionError: An option is unknown, or asks for what is never done.
        """
        if kwargs.get("state_dict") is not None or kwargs.get("gguf_file") is not None:
            kwargs.pop("trust_remote_code", None)
            return super().from_pretrained(pretrained_model_name_or_path, *args, config=config, **kwargs)
        folder = local_checkpoint(pretrained_model_name_or_path, **hub_arguments(kwargs))
        kwargs = {name: value for name, value in kwargs.items() if name not in HUB_ARGUMENTS}
        read_config(folder)
        if not isinstance(config, BaichuanConfig):
            config, kwargs = BaichuanConfig.from_pretrained(config or folder, return_unused_kwargs=True, **kwargs)
        settle_family(config, where=str(pretrained_model_name_or_path), source=modelling_source(folder))
        if config.position_embedding == "rope" and config.rope_theta != OFFICIAL_THETA:
            logger.warning(
                "%s: rope_theta is %s and is obeyed; Baichuan's own code has %s built in and would ignore it.",
                folder, config.rope_theta, OFFICIAL_THETA,
            )  # fmt: skip
        quantized_before = read_quantization(folder, config)
        model = load_checked(super().from_pretrained, cls, folder, config, kwargs)
        loaded = model[0] if isinstance(model, tuple) else model
        if quantized_before or kwargs.get("quantization_config") is not None:
            check_quantized(loaded)
        loaded.config.name_or_path = str(pretrained_model_name_or_path)
        return model
