"""The Baichuan model in vLLM's layers: its parallelism, its KV cache, its loader.

Reads top-down like `baichuan.modeling`, with whose module names and numbers it agrees; where vLLM fuses two projections
in one (`gate_up_proj`), the loader puts them together.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from vllm.compilation.decorators import support_torch_compile
from vllm.config import VllmConfig
from vllm.distributed import get_pp_group, get_tensor_model_parallel_rank, get_tensor_model_parallel_world_size
from vllm.model_executor.layers.activation import SiluAndMul
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.linear import MergedColumnParallelLinear, QKVParallelLinear, RowParallelLinear
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.rotary_embedding import get_rope
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.model_loader.weight_utils import default_weight_loader
from vllm.model_executor.models.interfaces import SupportsPP
from vllm.model_executor.models.utils import (
    PPMissingLayer,
    is_pp_missing_parameter,
    make_empty_intermediate_tensors_factory,
    make_layers,
    maybe_prefix,
)
from vllm.platforms import current_platform
from vllm.sequence import IntermediateTensors

from ..baichuan import BaichuanConfig, alibi_slopes
from ..baichuan.checkpoint import modelling_source
from ..baichuan.family import settle_family
from .servable import check_servable
from .tensors import accounted, expected_tensors, folder_tensors

MERGED = {"gate_proj": ("gate_up_proj", 0), "up_proj": ("gate_up_proj", 1)}
"""Projections of a checkpoint that are one in vLLM: its name, and the part's number."""


class BaichuanAttention(nn.Module):
    """Self-attention over vLLM's KV cache; a process of a tensor parallel group has a share of the heads."""

    def __init__(self, config: BaichuanConfig, engine: VllmConfig, prefix: str) -> None:
        """Builds the attention that lies at `prefix` in the model."""
        super().__init__()
        heads, width = config.num_attention_heads, config.head_dim
        here = heads // get_tensor_model_parallel_world_size()
        self.W_pack = QKVParallelLinear(
            config.hidden_size,
            width,
            heads,
            bias=False,
            quant_config=engine.quant_config,
            prefix=f"{prefix}.W_pack",
        )
        self.o_proj = RowParallelLinear(
            config.hidden_size,
            config.hidden_size,
            bias=False,
            quant_config=engine.quant_config,
            prefix=f"{prefix}.o_proj",
        )
        self.width, self.room = width, attended_width(width)
        self.rotary = slopes = None
        if config.position_embedding == "alibi":
            first = get_tensor_model_parallel_rank() * here
            slopes = alibi_slopes(heads, "cpu")[first : first + here].tolist()
        else:
            self.rotary = get_rope(
                width,
                max_position=config.context_length or engine.model_config.max_model_len,
                rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            )
        self.attn = Attention(
            here,
            self.room,
            width**-0.5,
            alibi_slopes=slopes,
            cache_config=engine.cache_config,
            quant_config=engine.quant_config,
            prefix=f"{prefix}.attn",
        )

    def forward(self, positions: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Attends. `positions` has shape [tokens]; `hidden` and the result [tokens, hidden]."""
        packed, _ = self.W_pack(hidden)
        q, k, v = packed.chunk(3, dim=-1)
        if self.rotary is not None:
            q, k = self.rotary(positions, q, k)
        if self.room == self.width:
            out, _ = self.o_proj(self.attn(q, k, v))
            return out
        # Zeros behind each head change no product of queries and keys, and no sum of values.
        q, k, v = map(self._with_room, (q, k, v))
        attended = self.attn(q, k, v).unflatten(-1, (-1, self.room))[..., : self.width].flatten(1)
        out, _ = self.o_proj(attended)
        return out

    def _with_room(self, part: torch.Tensor) -> torch.Tensor:
        return F.pad(part.unflatten(-1, (-1, self.width)), (0, self.room - self.width)).flatten(1)


def attended_width(width: int) -> int:
    """How wide heads are for the attention's kernels, which on the CPU take multiples of 32 only."""
    return -(-width // 32) * 32 if current_platform.is_cpu() else width


class BaichuanMLP(nn.Module):
    """Gated feed-forward layer (SwiGLU)."""

    def __init__(self, config: BaichuanConfig, engine: VllmConfig, prefix: str) -> None:
        """Builds the projections that lie at `prefix` in the model."""
        super().__init__()
        self.gate_up_proj = MergedColumnParallelLinear(
            config.hidden_size,
            [config.intermediate_size] * 2,
            bias=False,
            quant_config=engine.quant_config,
            prefix=f"{prefix}.gate_up_proj",
        )
        self.down_proj = RowParallelLinear(
            config.intermediate_size,
            config.hidden_size,
            bias=False,
            quant_config=engine.quant_config,
            prefix=f"{prefix}.down_proj",
        )
        self.act = SiluAndMul()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Shape [tokens, hidden] in and out."""
        both, _ = self.gate_up_proj(hidden)
        out, _ = self.down_proj(self.act(both))
        return out


class BaichuanDecoderLayer(nn.Module):
    """One pre-norm block."""

    def __init__(self, config: BaichuanConfig, engine: VllmConfig, prefix: str) -> None:
        """Builds the block that lies at `prefix` in the model."""
        super().__init__()
        self.self_attn = BaichuanAttention(config, engine, f"{prefix}.self_attn")
        self.mlp = BaichuanMLP(config, engine, f"{prefix}.mlp")
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self, positions: torch.Tensor, hidden: torch.Tensor, residual: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the block adds, and the sum that it is added to: vLLM's norm adds them. Each [tokens, hidden]."""
        if residual is None:
            residual, hidden = hidden, self.input_layernorm(hidden)
        else:
            hidden, residual = self.input_layernorm(hidden, residual)
        hidden, residual = self.post_attention_layernorm(self.self_attn(positions, hidden), residual)
        return self.mlp(hidden), residual


@support_torch_compile(dynamic_arg_dims={"input_ids": 0, "positions": 0, "intermediate_tensors": 0, "inputs_embeds": 0})
class BaichuanModel(nn.Module):
    """The decoder without its head; a process of a pipeline has some of the blocks."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        """Builds what this process has of the embedding, the blocks and the final norm."""
        super().__init__()
        config = vllm_config.model_config.hf_config
        first, last = get_pp_group().is_first_rank, get_pp_group().is_last_rank
        self.embed_tokens = VocabParallelEmbedding(config.vocab_size, config.hidden_size) if first else PPMissingLayer()
        self.start_layer, self.end_layer, self.layers = make_layers(
            config.num_hidden_layers,
            lambda prefix: BaichuanDecoderLayer(config, vllm_config, prefix),
            prefix=f"{prefix}.layers",
        )
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps) if last else PPMissingLayer()

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor | IntermediateTensors:
        """Runs the blocks that are here; ids and positions have shape [tokens], hidden states [tokens, hidden]."""
        if get_pp_group().is_first_rank:
            hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
            residual = None
        else:
            received: Any = intermediate_tensors
            hidden, residual = received["hidden_states"], received["residual"]
        for layer in islice(self.layers, self.start_layer, self.end_layer):
            hidden, residual = layer(positions, hidden, residual)
        if not get_pp_group().is_last_rank:
            return IntermediateTensors({"hidden_states": hidden, "residual": residual})
        hidden, _ = self.norm(hidden, residual)
        return hidden


class BaichuanForVLLM(nn.Module, SupportsPP):
    """The decoder with its head, plain or with normalised rows."""

    row_norms: torch.Tensor | None

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        """Builds the model that vLLM's configuration describes.

        Raises:
            CheckpointError: Nothing says which kind of positions or head it has.
            UnsupportedModelError: It needs what is not here.
        """
        super().__init__()
        model = vllm_config.model_config
        self.config = config = model.hf_config
        self.checkpoint = str(model.model)
        local = Path(self.checkpoint).is_dir()
        self.own_reader = local and vllm_config.load_config.load_format == "auto"
        settle_family(config, where=self.checkpoint, source=modelling_source(self.checkpoint) if local else None)
        check_servable(config, self.checkpoint)
        self.model = BaichuanModel(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "model"))
        if get_pp_group().is_last_rank:
            self.lm_head = ParallelLMHead(config.vocab_size, config.hidden_size, prefix=maybe_prefix(prefix, "lm_head"))
            self.logits_processor = LogitsProcessor(config.vocab_size)
        else:
            self.lm_head = PPMissingLayer()
        # Of all rows, in every process: logits are divided once they are together.
        norms = torch.ones(config.vocab_size, dtype=torch.float32) if config.norm_head else None
        self.register_buffer("row_norms", norms, persistent=False)
        self.make_empty_intermediate_tensors = make_empty_intermediate_tensors_factory(
            ["hidden_states", "residual"], config.hidden_size
        )

    def embed_input_ids(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Embeds ids of shape [tokens]."""
        return self.model.embed_tokens(input_ids)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor | IntermediateTensors:
        """Runs the blocks that are here (see `BaichuanModel.forward`)."""
        return self.model(input_ids, positions, intermediate_tensors, inputs_embeds)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        """Logits `[tokens, vocab]` of hidden states; None in a process that does not gather them."""
        logits = self.logits_processor(self.lm_head, hidden_states)
        return logits if logits is None or self.row_norms is None else logits / self.row_norms

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Loads a checkpoint's tensors, this process its share of each.

        Args:
            weights: Names and tensors of the whole checkpoint, as vLLM reads them. Of a folder with nothing said of
                its format they are left unread: vLLM takes every safetensors file there for a shard.

        Returns:
            The names of the parameters that were loaded.

        Raises:
            CheckpointError: A tensor is missing, unexpected or misshapen.
        """
        parameters: dict[str, Any] = dict(self.named_parameters())
        expected = expected_tensors(self.config)
        if self.own_reader:
            weights = folder_tensors(self.checkpoint, expected)
        loaded = set()
        for name, tensor in accounted(weights, expected, self.checkpoint):
            if is_pp_missing_parameter(name, self):
                continue
            if name == "lm_head.weight" and self.row_norms is not None:
                norms = torch.cat([rows.float().norm(dim=-1) for rows in tensor.split(4096)])
                self.row_norms.copy_(norms.clamp_min(1e-12))
            parts = name.split(".")
            merged, part = MERGED.get(parts[-2], (None, None))
            target = ".".join([*parts[:-2], merged, parts[-1]]) if merged else name
            load = getattr(parameters[target], "weight_loader", default_weight_loader)
            load(parameters[target], tensor, *([] if merged is None else [part]))
            loaded.add(target)
        return loaded
