"""The model against the official code's outputs, against a plain float64 oracle, and against itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import plain_model
import pytest
import torch
from golden_checkpoints import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny_models import tiny_config
from transformers import AutoModelForCausalLM

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM, alibi_slopes
from lm_eval_baichuan.model_adapters.hosts.transformers import CACHE_KEYWORD


def load_golden(folder: Path, dtype: torch.dtype = torch.float32) -> BaichuanForCausalLM:
    stated = "norm_head" in json.loads((folder / "config.json").read_text())
    options = {} if stated else {"norm_head": False}  # generation 1's configuration does not name the head
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **options)
    assert isinstance(model, BaichuanForCausalLM)
    return model


@pytest.mark.parametrize("name", GOLDEN)
@torch.no_grad()
def test_golden_logits(golden_dir: Path, name: str) -> None:
    golden = load_file(golden_dir / name / "goldens.safetensors")
    model = load_golden(golden_dir / name)
    for i in range(6):
        torch.testing.assert_close(model(golden[f"ids.{i}"][None]).logits[0], golden[f"logits.{i}"], atol=2e-4, rtol=0)
    long = model(golden["long.ids"][None]).logits[0, -8:]
    torch.testing.assert_close(long, golden["long.logits_last8"], atol=2e-4, rtol=0)


@pytest.mark.parametrize("name", GOLDEN)
@torch.no_grad()
def test_golden_logits_through_cache_and_padding(golden_dir: Path, name: str) -> None:
    golden = load_file(golden_dir / name / "goldens.safetensors")
    model = load_golden(golden_dir / name)
    ids, expected = golden["ids.3"], golden["logits.3"]

    first = model(ids[None, :10], use_cache=True)
    parts = [first.logits[0]]
    cache = first[CACHE_KEYWORD]
    for start, stop in ((10, 11), (11, 12), (12, 33)):
        step = model(ids[None, start:stop], cache=cache, use_cache=True)
        parts.append(step.logits[0])
    torch.testing.assert_close(torch.cat(parts), expected, atol=2e-4, rtol=0)

    for side in ("left", "right"):
        batch = torch.zeros(2, len(golden["ids.4"]), dtype=torch.long)
        mask = torch.zeros_like(batch)
        for row, key in enumerate(("ids.3", "ids.4")):
            length = len(golden[key])
            where = slice(batch.shape[1] - length, None) if side == "left" else slice(0, length)
            batch[row, where], mask[row, where] = golden[key], 1
        positions = (mask.cumsum(-1) - 1).clamp_min(0)
        logits = model(batch, attention_mask=mask, position_ids=positions).logits
        assert torch.isfinite(logits).all()
        for row, key in enumerate(("logits.3", "logits.4")):
            torch.testing.assert_close(logits[row][mask[row].bool()], golden[key], atol=2e-4, rtol=0)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_greedy_tokens(golden_dir: Path, name: str) -> None:
    golden = load_file(golden_dir / name / "goldens.safetensors")
    prompt, expected = golden["gen.prompt"], golden["gen.tokens"]
    out = load_golden(golden_dir / name).generate(
        prompt[None], attention_mask=torch.ones_like(prompt[None]), max_new_tokens=len(expected), do_sample=False
    )
    assert out[0, len(prompt) :].tolist() == expected.tolist()


@torch.no_grad()
def test_golden_shards_give_the_same_model(golden_dir: Path) -> None:
    whole = load_golden(golden_dir / "baichuan2-13b-tiny").state_dict()
    sharded = load_golden(golden_dir / "baichuan2-13b-tiny-sharded").state_dict()
    assert whole.keys() == sharded.keys()
    assert all(torch.equal(whole[name], sharded[name]) for name in whole)


@pytest.mark.parametrize("name", ["baichuan1-13b-tiny", "baichuan1-13b-tiny-5heads", "baichuan2-13b-tiny"])
@torch.no_grad()
def test_alibi_in_bfloat16_is_closer_to_float32_than_the_official_code(golden_dir: Path, name: str) -> None:
    golden = load_file(golden_dir / name / "goldens.safetensors")
    exact = load_golden(golden_dir / name)(golden["bf16.ids"][None]).logits[0]
    ours = load_golden(golden_dir / name, torch.bfloat16)(golden["bf16.ids"][None]).logits[0].float()
    distance = (ours - exact).abs().mean().item()
    official = (golden["bf16.logits"] - exact).abs().mean().item()
    assert distance <= 0.047 < 0.058 <= official


def test_golden_slopes(golden_dir: Path) -> None:
    for heads, expected in json.loads((golden_dir / "alibi_slopes.json").read_text()).items():
        np.testing.assert_allclose(alibi_slopes(int(heads)).numpy(), expected, rtol=1e-6)


def test_slopes_by_hand() -> None:
    assert alibi_slopes(4).tolist() == [1 / 4, 1 / 16, 1 / 64, 1 / 256]
    assert alibi_slopes(6).tolist() == [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8]
    assert alibi_slopes(40).tolist() == pytest.approx(plain_model.slopes(40))


@settings(max_examples=10)
@given(ids=st.lists(st.integers(0, 96), min_size=1, max_size=24))
def test_model_equals_plain_float64_oracle(ids: list[int]) -> None:
    for family in ("baichuan1-7b", "baichuan1-13b", "baichuan2-7b", "baichuan2-13b"):
        torch.manual_seed(1)
        model = BaichuanForCausalLM(tiny_config(family)).double().eval()
        with torch.no_grad():
            ours = model(torch.tensor([ids])).logits[0].numpy()
        weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        np.testing.assert_allclose(ours, plain_model.logits(weights, model.config, ids), atol=2e-4)


@torch.no_grad()
def test_cache_padding_and_whole_pass_agree(tiny_model: BaichuanForCausalLM) -> None:
    ids = torch.randint(0, 97, (1, 20), generator=torch.Generator().manual_seed(0))
    whole = tiny_model(ids).logits
    start = tiny_model(ids[:, :7], use_cache=True)
    rest = tiny_model(ids[:, 7:], cache=start[CACHE_KEYWORD]).logits
    torch.testing.assert_close(rest, whole[:, 7:], atol=1e-4, rtol=1e-4)
    padded = torch.cat([torch.full((1, 5), 0), ids], dim=1)
    mask = torch.tensor([[0] * 5 + [1] * 20])
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    logits = tiny_model(padded, attention_mask=mask, position_ids=positions).logits
    torch.testing.assert_close(logits[:, 5:], whole, atol=1e-4, rtol=1e-4)
    assert torch.isfinite(logits).all()


@torch.no_grad()
def test_logits_to_keep_and_loss(tiny_model: BaichuanForCausalLM) -> None:
    ids = torch.arange(12)[None]
    whole = tiny_model(ids, labels=ids)
    for keep, expected in ((1, whole.logits[:, -1:]), (torch.tensor([2, 5]), whole.logits[:, [2, 5]])):
        torch.testing.assert_close(tiny_model(ids, logits_to_keep=keep).logits, expected, atol=1e-4, rtol=1e-4)
    logprobs = whole.logits[0, :-1].log_softmax(-1)
    torch.testing.assert_close(whole.loss, -logprobs.gather(1, ids[0, 1:, None]).mean())


@torch.no_grad()
def test_norm_head_zero_row_gives_zero(tiny_model: BaichuanForCausalLM) -> None:
    logits = tiny_model(torch.tensor([[1, 2, 3]])).logits
    assert (logits[..., 7] == 0).all()
    ratio = logits[..., 8].abs().mean() / logits[..., 9:].abs().mean()
    assert (ratio < 4) == tiny_model.config.norm_head  # row 8 is ten times longer, which NormHead takes away


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (BaichuanConfig(max_position_embeddings=4096), 7_000_559_616),
        (
            BaichuanConfig(
                hidden_size=5120,
                intermediate_size=13696,
                num_hidden_layers=40,
                num_attention_heads=40,
                model_max_length=4096,
            ),
            13_264_901_120,
        ),
    ],
)
def test_true_shapes_have_the_published_parameter_counts(config: BaichuanConfig, parameters: int) -> None:
    with torch.device("meta"):
        model = BaichuanForCausalLM(config)
    assert sum(p.numel() for p in model.parameters()) == parameters


@torch.no_grad()
def test_saved_and_loaded_again_is_the_same_model(tiny_model: BaichuanForCausalLM, tmp_path: Path) -> None:
    tiny_model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    torch.testing.assert_close(again(ids).logits, tiny_model(ids).logits)
    assert again.config.norm_head == tiny_model.config.norm_head
    assert again.config.position_embedding == tiny_model.config.position_embedding


def test_a_quantized_layer_that_has_no_weight_has_its_slopes_all_the_same() -> None:
    attention = BaichuanForCausalLM(tiny_config("baichuan2-13b")).model.layers[0].self_attn
    expected = attention.alibi_slopes
    for name in ("W_pack", "o_proj"):  # as GPTQ replaces them: packed numbers in buffers
        packed = torch.nn.Module()
        packed.register_buffer("qweight", torch.zeros(3, dtype=torch.int32))
        setattr(attention, name, packed)
    assert torch.equal(attention.alibi_slopes, expected)


def test_slopes_are_made_once_and_follow_the_layer_to_another_device() -> None:
    attention = BaichuanForCausalLM(tiny_config("baichuan1-13b")).model.layers[0].self_attn
    expected = attention.alibi_slopes
    assert attention.alibi_slopes is expected
    attention._slopes = torch.empty_like(expected, device="meta")  # as if the layer had been there
    assert attention.alibi_slopes.device == expected.device and torch.equal(attention.alibi_slopes, expected)
