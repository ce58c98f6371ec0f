"""Adapters, resized vocabularies, and fine-tunes saved as Llama checkpoints give the scores that they should."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from families import FAMILIES
from lm_eval.api.instance import Instance
from safetensors.torch import load_file, save_file

from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.baichuan.modeling import NormHead
from lm_eval_baichuan.model_adapters.errors import CheckpointError
from lm_eval_baichuan.model_adapters.llama_export import write as llama_export
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

peft = pytest.importorskip("peft")

Make = Callable[..., Instance]
Write = Callable[..., str]

# peft asks transformers in a way that transformers calls outdated.

TARGETS = ["W_pack", "o_proj", "gate_proj", "up_proj", "down_proj"]


def requests(instance: Make) -> list[Instance]:
    questions = ["What is your name? 答案：", "以下是法学考试 name two one 答案：", "one three 答案："]
    return [instance(text, label, i, label_tokens="isolated") for i, text in enumerate(questions) for label in "ABCD"]


def score(lm: BaichuanLM, instance: Make) -> torch.Tensor:
    return torch.tensor([logprob for logprob, _ in lm.loglikelihood(requests(instance), disable_tqdm=True)])


def train_adapter(folder: str, adapter: Path, *, rows: int | None = None, **config: Any) -> Any:
    """A random adapter on the checkpoint in `folder`, saved in `adapter`; returns the peft model."""
    model = BaichuanForCausalLM.from_pretrained(folder)
    if rows:
        torch.manual_seed(8)
        model.resize_token_embeddings(rows, mean_resizing=False)
    settings = {"r": 4, "target_modules": TARGETS, "task_type": "CAUSAL_LM", **config}
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**settings))
    torch.manual_seed(9)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.normal_(std=0.2)
    wrapped.save_pretrained(adapter, save_embedding_layers=False)
    return wrapped.eval()


@pytest.mark.parametrize("trie", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_scores_the_same_merged_and_unmerged(
    write_checkpoint: Write, instance: Make, tmp_path: Path, family: str, trie: bool
) -> None:
    base = write_checkpoint(**FAMILIES[family])
    merged = train_adapter(base, tmp_path / "adapter").merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(Path(base) / name, tmp_path / "merged")
    unmerged = score(BaichuanLM(base, device="cpu", trie=trie, peft=str(tmp_path / "adapter")), instance)
    assert torch.allclose(unmerged, score(BaichuanLM(str(tmp_path / "merged"), device="cpu"), instance), atol=1e-4)
    assert (unmerged - score(BaichuanLM(base, device="cpu"), instance)).abs().max() > 0.05


def test_trained_embedding_and_head_with_added_tokens(write_checkpoint: Write, instance: Make, tmp_path: Path) -> None:
    base = write_checkpoint(norm_head=True)
    trained = train_adapter(base, tmp_path / "adapter", rows=403, modules_to_save=["embed_tokens", "lm_head"])
    lm = BaichuanLM(base, device="cpu", peft=str(tmp_path / "adapter"))
    assert lm.model.get_input_embeddings().weight.shape[0] == 403
    [(logprob, _)] = lm.loglikelihood([instance("one", "A", label_tokens="isolated")], disable_tqdm=True)
    ids = torch.tensor([lm.tokenizer.encode("one")])
    with torch.no_grad():
        expected = trained(input_ids=ids).logits[0, -1].log_softmax(-1)[lm.tokenizer.encode("A")[-1]]
    assert logprob == pytest.approx(float(expected), abs=1e-4)


def test_a_norm_head_stays_one_when_the_vocabulary_grows(write_checkpoint: Write) -> None:
    model = BaichuanForCausalLM.from_pretrained(write_checkpoint(norm_head=True))
    with torch.no_grad():
        before = model(torch.tensor([[5, 6, 7]])).logits
        model.resize_token_embeddings(410, mean_resizing=False)
        after = model(torch.tensor([[5, 6, 7]])).logits
    assert isinstance(model.lm_head, NormHead)
    assert after.shape[-1] == 410
    assert torch.allclose(before, after[..., :400], atol=1e-5)


def damage(adapter: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    state = load_file(adapter / "adapter_model.safetensors")
    change(state)
    save_file(state, adapter / "adapter_model.safetensors")


def rename(state: dict[str, torch.Tensor]) -> None:
    for name in list(state):
        state[name.replace("W_pack", "qkv")] = state.pop(name)


def drop(state: dict[str, torch.Tensor]) -> None:
    del state[next(name for name in state if "layers.1.mlp.up_proj" in name)]


def misshape(state: dict[str, torch.Tensor]) -> None:
    state.update({name: tensor[:, :8].contiguous() for name, tensor in state.items() if "W_pack.lora_A" in name})


def spoil(state: dict[str, torch.Tensor]) -> None:
    next(iter(state.values())).fill_(float("nan"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, "places stayed empty: .*W_pack"),
        (drop, "1 places stayed empty: .*layers.1.mlp.up_proj"),
        (misshape, "does not fit the model"),
        (spoil, "NaN or infinite"),
    ],
)
def test_an_adapter_that_does_not_arrive_stops(
    write_checkpoint: Write, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], None], message: str
) -> None:
    base, adapter = write_checkpoint(), tmp_path / "adapter"
    train_adapter(base, adapter)
    damage(adapter, change)
    with pytest.raises(CheckpointError, match=message):
        BaichuanLM(base, device="cpu", peft=str(adapter))


def test_an_adapter_for_other_modules_stops(write_checkpoint: Write, tmp_path: Path) -> None:
    base, adapter = write_checkpoint(), tmp_path / "adapter"
    train_adapter(base, adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["query_key_value"]}))
    with pytest.raises(CheckpointError, match="does not fit the model"):
        BaichuanLM(base, device="cpu", peft=str(adapter))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_rslora", "false"),
        ("use_rslora", float("nan")),
        ("fan_in_fan_out", "false"),
        ("lora_alpha", True),
        ("lora_alpha", "8"),
        ("alpha_pattern", {"W_pack": True}),
        ("alpha_pattern", [1]),
    ],
)
def test_a_value_of_another_type_that_would_scale_an_adapter_otherwise_stops(
    write_checkpoint: Write, tmp_path: Path, key: str, value: object
) -> None:
    base, adapter = write_checkpoint(), tmp_path / "adapter"
    train_adapter(base, adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(CheckpointError, match=rf"adapter_config\.json: {key}.*expected"):
        BaichuanLM(base, device="cpu", peft=str(adapter))


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_an_adapter_that_would_run_code_is_refused(write_checkpoint: Write, tmp_path: Path) -> None:
    base, adapter = write_checkpoint(), tmp_path / "adapter"
    train_adapter(base, adapter)
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"a": Bomb(tmp_path / "ran")}, adapter / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="refused"):
        BaichuanLM(base, device="cpu", peft=str(adapter))
    assert not (tmp_path / "ran").exists()


def test_a_folder_that_is_no_adapter_is_refused(write_checkpoint: Write, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no adapter_config.json"):
        BaichuanLM(write_checkpoint(), device="cpu", peft=str(tmp_path))


@pytest.mark.parametrize("where", ["added_tokens_decoder", "added_tokens.json", "tokenizer.json"])
@pytest.mark.parametrize("llama", [False, True])
def test_added_tokens_have_the_ids_that_the_checkpoint_states(
    write_checkpoint: Write, instance: Make, tmp_path: Path, where: str, llama: bool
) -> None:
    folder = Path(write_checkpoint(norm_head=False))
    token = {"content": "<|tool|>", "special": False, "normalized": False}
    if llama:
        llama_export.write_llama(folder, tmp_path, llama_export.llama_ready_config(folder))
        folder = tmp_path
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").write_text("{}")
    if where == "added_tokens_decoder":
        (folder / "tokenizer_config.json").write_text(json.dumps({where: {"390": token}}))
    elif where == "added_tokens.json":
        (folder / where).write_text(json.dumps({"<|tool|>": 390}))
    else:
        (folder / where).write_text(json.dumps({"added_tokens": [{"id": 0, "content": "<unk>"}, {"id": 390, **token}]}))
    lm = BaichuanLM(str(folder), device="cpu")
    assert 390 in lm.tok_encode("one<|tool|>two")
    assert lm.tok_encode("one two") == lm.tokenizer.sp_model.encode("one two")


@pytest.mark.parametrize("norm_head", [False, True])
def test_a_llama_checkpoint_scores_like_the_baichuan_it_is(
    write_checkpoint: Write, instance: Make, tmp_path: Path, norm_head: bool
) -> None:
    folder = Path(write_checkpoint(norm_head=norm_head))
    llama_export.write_llama(folder, tmp_path, llama_export.llama_ready_config(folder))
    # As transformers 4 saved a Llama, tokenizer of the old kind: with bos by default.
    config = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").unlink()
    lm = BaichuanLM(str(tmp_path), device="cpu")
    assert torch.allclose(score(lm, instance), score(BaichuanLM(str(folder), device="cpu"), instance), atol=1e-4)
    assert lm.get_model_info()["baichuan"]["label_tokens"] == {"isolated": ["some_task"]}
    assert lm.get_model_info()["baichuan"]["model_type"] == "llama"
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    for text in ("<br>one\n\n0 1。", "What is your name?", "  two  spaces"):
        assert lm.tok_encode(text) == pieces.encode(text)
    asked = BaichuanLM(str(tmp_path), device="cpu", add_bos_token=True)
    assert asked.tok_encode("one") == [1, *pieces.encode("one")]


def test_a_llama_without_sentencepiece_model_says_so_and_has_no_bos(
    write_checkpoint: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(write_checkpoint())
    llama_export.write_llama(folder, tmp_path, llama_export.llama_ready_config(folder))
    (tmp_path / "tokenizer.model").unlink()
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": "LlamaTokenizer"}))
    with caplog.at_level("WARNING"):
        lm = BaichuanLM(str(tmp_path), device="cpu")
    assert "may give other ids" in caplog.text
    assert lm.tok_encode("one")[0] != 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("quantize", [{"load_in_4bit": True}, {"load_in_8bit": True}])
def test_an_adapter_on_a_quantized_model_adds_what_it_adds(
    write_checkpoint: Write, instance: Make, tmp_path: Path, family: str, quantize: dict[str, bool]
) -> None:
    pytest.importorskip("bitsandbytes")
    widths = {"hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.15}
    base, adapter = write_checkpoint(**widths, **FAMILIES[family]), tmp_path / "adapter"
    train_adapter(base, adapter)
    exact, bare = score(BaichuanLM(base, device="cpu", peft=str(adapter)), instance), BaichuanLM(base, device="cpu")
    lm = BaichuanLM(base, device="cpu", peft=str(adapter), **quantize)
    found = score(lm, instance)
    bits = 4 if "load_in_4bit" in quantize else 8
    assert lm.get_model_info()["baichuan"]["quantization"] == f"{bits} bits, bitsandbytes"
    # Quantizing moves a score by far less than the adapter does.
    assert (found - exact).abs().mean() < 0.5 * (found - score(bare, instance)).abs().mean()
    plain = BaichuanLM(base, device="cpu", peft=str(adapter), trie=False, **quantize)
    assert torch.allclose(found, score(plain, instance), atol=0.05)
