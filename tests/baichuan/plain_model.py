"""The Baichuan architectures once more, token by token in float64, as an oracle that shares no code with the model.

Written from the description of the official code: W_pack rows are [Q; K; V]; RMSNorm; rotate-half RoPE with base 10000,
or ALiBi's slope x absolute key position; SwiGLU; a head that may be normalised row by row.
"""

import numpy as np

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig


def slopes(heads: int) -> list[float]:
    def series(n: int) -> list[float]:
        return [2.0 ** (-8.0 * i / n) for i in range(1, n + 1)]

    power = 1
    while power * 2 <= heads:
        power *= 2
    return series(power) + series(2 * power)[0::2][: heads - power]


def logits(weights: dict[str, np.ndarray], config: BaichuanConfig, ids: list[int]) -> np.ndarray:
    """Logits `[query, vocab]` of one sequence."""
    heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    x = weights["model.embed_tokens.weight"][ids]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.rms_norm_eps) * weights[name]

    def rope(v: np.ndarray, position: int) -> np.ndarray:
        out = np.empty_like(v)
        for j in range(width // 2):
            angle = position / 10000 ** (2 * j / width)
            a, b = v[j], v[j + width // 2]
            out[j] = a * np.cos(angle) - b * np.sin(angle)
            out[j + width // 2] = b * np.cos(angle) + a * np.sin(angle)
        return out

    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        h = norm(x, prefix + "input_layernorm.weight")
        q, k, v = (
            part.reshape(len(ids), heads, width)
            for part in np.split(h @ weights[prefix + "self_attn.W_pack.weight"].T, 3, axis=-1)
        )
        out = np.zeros_like(x)
        for head in range(heads):
            qs, ks = q[:, head], k[:, head]
            if config.position_embedding == "rope":
                qs = np.stack([rope(row, i) for i, row in enumerate(qs)])
                ks = np.stack([rope(row, i) for i, row in enumerate(ks)])
            for i in range(len(ids)):
                score = ks[: i + 1] @ qs[i] / np.sqrt(width)
                if config.position_embedding == "alibi":
                    score = score + slopes(heads)[head] * np.arange(i + 1)
                weight = np.exp(score - score.max())
                out[i, head * width : (head + 1) * width] = weight @ v[: i + 1, head] / weight.sum()
        x = x + out @ weights[prefix + "self_attn.o_proj.weight"].T
        h = norm(x, prefix + "post_attention_layernorm.weight")
        gate = h @ weights[prefix + "mlp.gate_proj.weight"].T
        up = h @ weights[prefix + "mlp.up_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weights[prefix + "mlp.down_proj.weight"].T
    head_weight = weights["lm_head.weight"]
    if config.norm_head:
        head_weight = head_weight / np.maximum(np.linalg.norm(head_weight, axis=-1, keepdims=True), 1e-12)
    return norm(x, "model.norm.weight") @ head_weight.T
