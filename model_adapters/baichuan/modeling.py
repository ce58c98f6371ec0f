"""The Baichuan model: a decoder with a fused query-key-value projection, and RoPE or ALiBi positions.

Reads top-down: positions, attention, block, model, head. Names follow the official checkpoints, so that their tensors
load without renaming. Attention goes through transformers' attention interface; `scaled_dot_product_attention` does the
work unless another function is registered there.

Sources of the formulas: RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467), RoPE (Su et al. 2021, arXiv:2104.09864),
ALiBi (Press et al. 2022, arXiv:2108.12409), SwiGLU (Shazeer 2020, arXiv:2002.05202); NormHead as the Baichuan 2 report
describes it (arXiv:2309.10305).
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Cache, DynamicCache, GenerationMixin, GradientCheckpointingLayer

from ..hosts.transformers import (
    ACT2FN,
    ALL_ATTENTION_FUNCTIONS,
    CACHE_KEYWORD,
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    attention_name,
    create_causal_mask,
    sdpa_attention_forward,
)
from .configuration import BaichuanConfig
from .forward_arguments import one_cache, refuse_requests
from .pretrained import BaichuanPreTrainedModel
from .tensor_parallel import HEAD_PLAN, available_plan, heads_here


def rotary_cos_sin(positions: torch.Tensor, head_dim: int, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of the rotary angles, always in float32.

    Args:
        positions: Position of each token, integers. Shape [batch, query].
        head_dim: Width of one head.
        theta: Base of the frequencies.

    Returns:
        Two float32 tensors of shape [batch, 1, query, head_dim], the second half of the last axis repeating the first;
        the first half of the sines is negative, as `rotate` adds them.
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    angles = positions[:, None, :, None].float() * (1.0 / theta**exponents)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Applies rotary positions to queries or keys, in float32, and returns them in their own dtype.

    Args:
        x: Shape [batch, heads, query, head_dim].
        cos: From `rotary_cos_sin`.
        sin: From `rotary_cos_sin`.
    """
    first, second = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat((second, first), dim=-1), sin).to(x.dtype)


def alibi_slopes(num_heads: int, device: torch.device | str | None = None) -> torch.Tensor:
    """The slope of each head's linear bias: float32, shape [heads], all positive.

    For a power of two the slopes are the geometric series 2^(-8/n), 2^(-16/n), ...; any other number of heads takes the
    series of the next lower power of two, then every other slope of the series of the doubled power.
    """
    power = 2 ** math.floor(math.log2(num_heads))
    series = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    doubled = [2 ** (-8 * (i + 1) / (2 * power)) for i in range(2 * power)]
    return torch.tensor(series + doubled[0::2][: num_heads - power], dtype=torch.float32, device=device)


def alibi_bias(mask: torch.Tensor, num_heads: int, first_query: int) -> torch.Tensor:
    """Turns a boolean causal mask into ALiBi's additive bias by relative distance, exact in float32.

    The official code adds slope x absolute key position in the model's dtype, where large offsets round to coarse
    steps; the softmax does not see the offset, so the relative distance gives the same result at full precision.
    Padding, which no query sees, adds nothing to a distance wherever it stands.

    Args:
        mask: True where a query may see a key. Shape [batch, 1, query, key].
        num_heads: Number of attention heads.
        first_query: Index among the keys of the first query (the number of keys cached before it).

    Returns:
        Float32 bias, -slope x distance where visible and the lowest finite number elsewhere (not -inf: a padding query
        that sees nothing must not become NaN). Shape [batch, heads, query, key].
    """
    place = mask[..., -1, :].cumsum(-1)  # [batch, 1, key]: the last query sees every token
    queries = place[..., first_query : first_query + mask.shape[-2]]
    distance = (queries[..., None] - place[..., None, :]).float()
    bias = -alibi_slopes(num_heads, mask.device)[:, None, None] * distance
    return torch.where(mask, bias, torch.finfo(torch.float32).min)


class BaichuanRMSNorm(nn.Module):
    """Root-mean-square norm: variance in float32, then cast to the weight's dtype, then scaled."""

    def __init__(self, hidden_size: int, eps: float) -> None:
        """Builds the norm over the last axis of width `hidden_size`."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalises `x`. Shape [..., hidden] in and out."""
        # Few passes over memory, which take longer than the arithmetic: a norm in one, and the weight in place.
        x32 = x.float()
        variance = torch.linalg.vector_norm(x32, dim=-1, keepdim=True).square() / x.shape[-1]
        normed = x32 * torch.rsqrt(variance + self.eps)
        return normed.to(self.weight.dtype).mul_(self.weight)


class BaichuanAttention(nn.Module):
    """Self-attention with one fused projection for queries, keys and values."""

    is_causal = True

    def __init__(self, config: BaichuanConfig, layer_idx: int) -> None:
        """Builds the attention of layer `layer_idx`."""
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.num_heads = config.num_attention_heads
        self.head_dim = config.head_dim
        self.scaling = self.head_dim**-0.5
        self.W_pack = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self._slopes: torch.Tensor | None = None

    @property
    def alibi_slopes(self) -> torch.Tensor | None:
        """Float32 slopes, shape [heads], of an ALiBi model; None with RoPE. For attention functions without a mask."""
        if self.config.position_embedding != "alibi":
            return None
        device = next(chain(self.o_proj.parameters(), self.o_proj.buffers())).device  # a quantized layer has no weight
        device = torch.device("cpu") if device.type == "meta" else device  # an off-loaded layer's weights are elsewhere
        if self._slopes is None or self._slopes.device != device:  # once, since a copy to a GPU waits for it
            self._slopes = alibi_slopes(self.num_heads, device)[heads_here(self.W_pack, self.num_heads)]
        return self._slopes

    def forward(
        self,
        hidden: torch.Tensor,
        rotary: tuple[torch.Tensor, torch.Tensor] | None,
        attention_mask: torch.Tensor | None,
        kv_cache: Cache | None,
    ) -> torch.Tensor:
        """Attends. `hidden` and the result have shape [batch, query, hidden]."""
        batch, length, _ = hidden.shape
        packed = self.W_pack(hidden).view(batch, length, 3, -1, self.head_dim)
        q, k, v = (part.transpose(1, 2) for part in packed.unbind(2))  # each [batch, heads, query, head_dim]
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        if kv_cache is not None:
            k, v = kv_cache.update(k, v, self.layer_idx)
        dtype = q.dtype
        if isinstance(attention_mask, torch.Tensor):  # not what another attention function calls a mask
            if attention_mask.shape[1] > q.shape[1]:  # the bias of all heads, some not here
                attention_mask = attention_mask[:, heads_here(self.W_pack, self.num_heads)]
            if attention_mask.dtype == torch.float32 != dtype:
                # A float32 bias (ALiBi) would lose its precision in the weights' dtype: attention is in float32.
                q, k, v = q.float(), k.float(), v.float()
        # Transformers looks for this very call in this file's text before it lets the attention be set.
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(attention_name(self), sdpa_attention_forward)
        out, _ = attend(self, q, k, v, attention_mask, scaling=self.scaling, dropout=0.0)
        return self.o_proj(out.reshape(batch, length, -1).to(dtype))


class BaichuanMLP(nn.Module):
    """Gated feed-forward layer (SwiGLU)."""

    def __init__(self, config: BaichuanConfig) -> None:
        """Builds the three projections."""
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape [batch, query, hidden] in and out."""
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class BaichuanDecoderLayer(GradientCheckpointingLayer):
    """One pre-norm block: attention, then feed-forward, each added to the residual."""

    def __init__(self, config: BaichuanConfig, layer_idx: int) -> None:
        """Builds block `layer_idx`."""
        super().__init__()
        self.self_attn = BaichuanAttention(config, layer_idx)
        self.mlp = BaichuanMLP(config)
        self.input_layernorm = BaichuanRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = BaichuanRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        hidden: torch.Tensor,
        rotary: tuple[torch.Tensor, torch.Tensor] | None,
        attention_mask: torch.Tensor | None,
        kv_cache: Cache | None,
    ) -> torch.Tensor:
        """Shape [batch, query, hidden] in and out; the rest goes to the attention."""
        hidden = hidden + self.self_attn(
            self.input_layernorm(hidden), rotary=rotary, attention_mask=attention_mask, kv_cache=kv_cache
        )
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class BaichuanModel(BaichuanPreTrainedModel):
    """The decoder without its head."""

    def __init__(self, config: BaichuanConfig) -> None:
        """Builds the embedding, the blocks and the final norm."""
        super().__init__(config)
        # No padding_idx: the official pad row is an ordinary row, and id 0 occurs inside sequences.
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([BaichuanDecoderLayer(config, i) for i in range(config.num_hidden_layers)])
        self.norm = BaichuanRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        past_key_values: Cache | None = None,
        return_dict: Literal[True] | None = None,
        output_attentions: None = None,
        output_hidden_states: None = None,
    ) -> BaseModelOutputWithPast:
        """Runs the decoder.

        There is no ``**kwargs``: a keyword that is swallowed is a request that is not carried out, and one renamed
        release of transformers made every generated token wrong that way.

        Args:
            input_ids: Shape [batch, query].
            attention_mask: 1 for tokens, 0 for padding, shape [batch, key]; or a finished mask or additive bias of
                shape [batch, 1 or heads, query, key], which is used as it is (for ALiBi it must contain the bias).
            position_ids: Positions for RoPE, shape [batch, query]; ALiBi goes by distance and ignores them.
            cache: The KV cache.
            inputs_embeds: Instead of `input_ids`, shape [batch, query, hidden].
            use_cache: Whether to return a KV cache.
            past_key_values: The KV cache, as transformers before 5.24 names it.
            return_dict: Only named results are returned.
            output_attentions: Not computed.
            output_hidden_states: Not computed.

        Returns:
            The last hidden states, shape [batch, query, hidden], and the KV cache.

        Raises:
            TypeError: A keyword is unknown, or asks for what is not computed.
            ValueError: Of two arguments that exclude each other both were given, or neither.
        """
        refuse_requests(
            return_dict=return_dict in (None, True),
            output_attentions=not output_attentions,
            output_hidden_states=not output_hidden_states,
        )
        cache = one_cache(cache, past_key_values)
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass exactly one of input_ids and inputs_embeds.")
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        seen = int(cache.get_seq_length()) if cache is not None else 0
        if position_ids is None:
            position_ids = torch.arange(seen, seen + hidden.shape[1], device=hidden.device)[None]

        mask = self._mask(hidden, attention_mask, cache, seen)
        rotary = None
        if self.config.position_embedding == "rope":
            rotary = rotary_cos_sin(position_ids, self.config.head_dim, self.config.rope_theta)
        for layer in self.layers:
            hidden = layer(hidden, rotary=rotary, attention_mask=mask, kv_cache=cache)
        kept: dict[str, Any] = {CACHE_KEYWORD: cache if use_cache else None}
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden), **kept)

    def _mask(self, hidden: torch.Tensor, attention_mask: torch.Tensor | None, cache: Cache | None, seen: int) -> Any:
        """The mask or bias for the attention function, or None where that function needs none."""
        finished = attention_mask is not None and attention_mask.dim() == 4
        alibi = self.config.position_embedding == "alibi"
        mask = create_causal_mask(
            config=self.config,
            inputs_embeds=hidden,
            attention_mask=attention_mask,
            allow_is_causal_skip=not alibi,
            **{CACHE_KEYWORD: cache},
        )
        if not isinstance(mask, torch.Tensor) or finished or not alibi:
            return mask
        visible = mask if mask.dtype == torch.bool else mask == 0  # eager masks are additive
        return alibi_bias(visible, self.config.num_attention_heads, seen)


class NormHead(nn.Linear):
    """Output head whose rows are L2-normalised (eps 1e-12); a zero row gives logit 0."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Shape [..., hidden] to [..., vocab]. Dividing the logits spares a normalised copy of the weight."""
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        # In parts, since the CPU's norm makes a copy of its whole argument in `dtype`.
        norms = torch.cat([torch.linalg.vector_norm(rows, dim=-1, dtype=dtype) for rows in self.weight.split(4096)])
        return (super().forward(input) / norms.clamp_min(1e-12)).to(input.dtype)


class BaichuanForCausalLM(BaichuanPreTrainedModel, GenerationMixin):
    """The decoder with its head: logits over the vocabulary."""

    _tp_plan = available_plan(HEAD_PLAN)

    def __init__(self, config: BaichuanConfig) -> None:
        """Builds the model that `config` describes."""
        super().__init__(config)
        self.model = BaichuanModel(config)
        head = NormHead if config.norm_head else nn.Linear
        self.lm_head = head(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _get_resized_lm_head(self, old_lm_head: nn.Linear, *args: Any, **kwargs: Any) -> nn.Linear:
        # Transformers builds a plain head; the rows of a NormHead stay normalised when there are more of them.
        head = super()._get_resized_lm_head(old_lm_head, *args, **kwargs)
        head.__class__ = type(old_lm_head)
        return head

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        past_key_values: Cache | None = None,
        return_dict: Literal[True] | None = None,
        output_attentions: None = None,
        output_hidden_states: None = None,
    ) -> CausalLMOutputWithPast:
        """Runs model and head; arguments as for `BaichuanModel.forward`.

        Args:
            input_ids: Shape [batch, query].
            attention_mask: Shape [batch, key], or a finished 4-D mask or bias.
            position_ids: Shape [batch, query].
            cache: The KV cache.
            inputs_embeds: Shape [batch, query, hidden].
            labels: Next-token targets, shape [batch, query], -100 where there is none; gives a loss.
            use_cache: Whether to return a KV cache.
            logits_to_keep: Compute logits for the last so many positions only (0 for all), or at these indices.
            past_key_values: The KV cache, as transformers before 5.24 names it.
            return_dict: Only named results are returned.
            output_attentions: Not computed.
            output_hidden_states: Not computed.

        Returns:
            Logits of shape [batch, kept, vocab], the loss where labels were given, and the KV cache.

        Raises:
            TypeError: A keyword is unknown, or asks for what is not computed.
            ValueError: Of two arguments that exclude each other both were given, or neither.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            past_key_values=past_key_values,
            return_dict=return_dict,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep])
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        kept: dict[str, Any] = {CACHE_KEYWORD: outputs.get(CACHE_KEYWORD)}
        return CausalLMOutputWithPast(loss=loss, logits=logits, **kept)
