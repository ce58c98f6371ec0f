"""A RoPE Baichuan written as a Llama: the same logits, the same token ids, and nothing half done."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaForCausalLM

from lm_eval_baichuan.cli import main
from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM, BaichuanTokenizer
from lm_eval_baichuan.model_adapters.errors import CheckpointError
from lm_eval_baichuan.model_adapters.llama_export import check as llama_check
from lm_eval_baichuan.model_adapters.llama_export import write as llama_export

ROPE = ["baichuan1-7b-tiny", "baichuan2-7b-tiny"]


def write_checkpoint(
    folder: Path, tokenizer: Path, *, tokens: dict[str, Any] | None = None, dtype: str = "float32", **config: Any
) -> Path:
    torch.manual_seed(7)
    settings: dict[str, Any] = {
        "vocab_size": 400,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "initializer_range": 0.3,
        "norm_head": True,
        "max_position_embeddings": 128,
        **config,
    }
    model = BaichuanForCausalLM(BaichuanConfig(**settings)).to(getattr(torch, dtype))
    with torch.no_grad():
        model.lm_head.weight[3] = 0.0
        model.lm_head.weight[4] *= 20
    model.save_pretrained(folder)
    shutil.copy(tokenizer, folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BaichuanTokenizer", **(tokens or {})})
    )
    return folder


@pytest.fixture
def source(tmp_path: Path, small_tokenizer: Path) -> Path:
    return write_checkpoint(tmp_path / "source", small_tokenizer)


def export(source: Path, destination: Path, *options: str) -> int:
    return main(["export", str(source), str(destination), "--to", "llama", *options])


@torch.inference_mode()
def logits(model: Any, ids: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    result: torch.Tensor = model.eval()(input_ids=ids, **kwargs).logits
    return result


@pytest.mark.parametrize("norm_head", [False, True])
def test_logits_are_equal_through_transformers_llama(
    tmp_path: Path, small_tokenizer: Path, capsys: pytest.CaptureFixture[str], norm_head: bool
) -> None:
    source = write_checkpoint(tmp_path / "source", small_tokenizer, norm_head=norm_head, rope_theta=500.0)
    assert export(source, tmp_path / "llama") == 0
    ids = torch.randint(400, (3, 90), generator=torch.Generator().manual_seed(1))
    written = LlamaForCausalLM.from_pretrained(tmp_path / "llama")
    expected = logits(BaichuanForCausalLM.from_pretrained(source), ids)
    rounding = 5e-6 * float(expected.abs().max())  # float32's: these weights give logits up to 80
    assert torch.allclose(logits(written, ids), expected, atol=rounding, rtol=0)
    assert written.config.max_position_embeddings == 128
    assert (written.config.bos_token_id, written.config.eos_token_id) == (1, 2)
    output = capsys.readouterr().out
    assert "30 tensors read back and equal" in output
    assert "differ by at most" in output
    assert "computed in float32" in output


@pytest.mark.parametrize("name", ROPE)
def test_the_official_codes_logits_come_out_of_the_llama(
    golden_dir: Path, tmp_path: Path, small_tokenizer: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(golden_dir / name, source)
    shutil.copy(small_tokenizer, source / "tokenizer.model")
    (source / "tokenizer_config.json").write_text("{}")
    if name.startswith("baichuan1"):  # 512 pieces say nothing of the head
        assert export(source, tmp_path / "llama") == 2
        assert "--norm-head" in capsys.readouterr().err
    assert export(source, tmp_path / "llama", "--norm-head", str("2" in name).lower()) == 0
    golden = load_file(golden_dir / name / "goldens.safetensors")
    written = LlamaForCausalLM.from_pretrained(tmp_path / "llama")
    found = logits(written, golden["ids.5"][None])
    assert torch.allclose(found[0], golden["logits.5"], atol=2e-4)


def test_shards_in_and_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path) -> None:
    state = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    names = sorted(state)
    weight_map = {}
    for number, part in enumerate([names[:9], names[9:]], start=1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: state[name] for name in part}, source / file)
        weight_map |= dict.fromkeys(part, file)
    (source / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    monkeypatch.setattr(llama_export, "SHARD_BYTES", 30_000)
    assert export(source, tmp_path / "llama") == 0
    index = json.loads((tmp_path / "llama" / "model.safetensors.index.json").read_text())
    shards = sorted(path.name for path in (tmp_path / "llama").glob("*.safetensors"))
    assert len(shards) > 3
    assert sorted(set(index["weight_map"].values())) == shards
    assert shards[0] == f"model-00001-of-{len(shards):05d}.safetensors"
    assert all(sum(t.nbytes for t in load_file(tmp_path / "llama" / shard).values()) < 60_000 for shard in shards)
    ids = torch.arange(40)[None]
    expected = logits(BaichuanForCausalLM.from_pretrained(source), ids)
    assert torch.allclose(logits(LlamaForCausalLM.from_pretrained(tmp_path / "llama"), ids), expected, atol=1e-4)


def test_low_precision_weights_keep_their_dtype(tmp_path: Path, small_tokenizer: Path) -> None:
    source = write_checkpoint(tmp_path / "source", small_tokenizer, dtype="bfloat16")
    assert export(source, tmp_path / "llama") == 0
    assert {tensor.dtype for tensor in load_file(tmp_path / "llama" / "model.safetensors").values()} == {torch.bfloat16}
    config = json.loads((tmp_path / "llama" / "config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == "bfloat16"


def test_token_ids_are_sentencepieces_own(tmp_path: Path, source: Path) -> None:
    export(source, tmp_path / "llama")
    own = BaichuanTokenizer.from_pretrained(str(source))
    auto = AutoTokenizer.from_pretrained(str(tmp_path / "llama"))
    texts = [*llama_check.SAMPLES, "答案：A", "<br>one<br>\n\n01。"]
    for text in texts:
        assert auto.encode(text) == own.sp_model.encode(text), text
        assert auto.decode(auto.encode(text)) == own.decode(own.encode(text))


def test_added_tokens_come_along(tmp_path: Path, small_tokenizer: Path) -> None:
    decoder = {
        "390": {"content": "<|im_end|>", "special": True, "normalized": False},
        "391": {"content": "<tool>", "special": False, "normalized": False},
    }
    source = write_checkpoint(tmp_path / "source", small_tokenizer, tokens={"added_tokens_decoder": decoder})
    assert export(source, tmp_path / "llama") == 0
    own = BaichuanTokenizer.from_pretrained(str(source))
    auto = AutoTokenizer.from_pretrained(str(tmp_path / "llama"))
    text = "one<|im_end|>two <tool>name"
    assert auto.encode(text) == own.encode(text)
    assert {390, 391} <= set(auto.encode(text))


def test_a_gap_before_added_tokens_is_refused(tmp_path: Path, small_tokenizer: Path) -> None:
    decoder = {"395": {"content": "<far>", "special": True, "normalized": False}}
    source = write_checkpoint(tmp_path / "source", small_tokenizer, tokens={"added_tokens_decoder": decoder})
    assert export(source, tmp_path / "llama") == 2
    assert not (tmp_path / "llama").exists()


def test_real_vocabulary_on_real_text(data_dir: Path, tmp_path: Path) -> None:
    from lm_eval_baichuan.model_adapters.llama_export.tokenizer import save_fast_tokenizer

    own = BaichuanTokenizer(vocab_file=str(data_dir / "tokenizer" / "baichuan-7b.tokenizer.model"))
    save_fast_tokenizer(own, tmp_path)
    auto = AutoTokenizer.from_pretrained(str(tmp_path))
    texts = [
        file.read_text(encoding="utf-8-sig")[:4000]
        for pattern in ("**/*.csv", "**/*.jsonl", "**/*.json")
        for file in sorted(data_dir.glob(pattern))
    ]
    draw = random.Random(3)  # noqa: S311
    pieces = [own.sp_model.decode([i]) for i in range(3, len(own.sp_model))]
    texts += pieces + ["".join(draw.choices(pieces, k=draw.randint(2, 6))) for _ in range(20_000)]
    assert len(texts) > 80_000
    found = auto(texts, add_special_tokens=False)["input_ids"]
    assert [text for text, ids in zip(texts, found, strict=True) if own.encode(text) != ids] == []
    chat = [
        {"role": "user", "content": "你好"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "2"},
    ]
    rendered = own.apply_chat_template(chat, tokenize=False)
    assert auto.apply_chat_template(chat, tokenize=False) == rendered
    assert auto.encode(rendered) == own.encode(rendered)


def test_alibi_is_refused_with_the_reason(
    tmp_path: Path, small_tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_checkpoint(
        tmp_path / "source", small_tokenizer, max_position_embeddings=None, model_max_length=64, norm_head=False
    )
    assert export(source, tmp_path / "llama") == 2
    assert "has ALiBi positions" in capsys.readouterr().err
    assert not (tmp_path / "llama").exists()


def test_nothing_is_overwritten(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "llama").mkdir()
    assert export(source, tmp_path / "llama") == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert list((tmp_path / "llama").iterdir()) == []


def test_a_failed_export_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(llama_export, "_write_config", lambda *_: (_ for _ in ()).throw(CheckpointError("disk full")))
    assert export(source, tmp_path / "llama") == 2
    assert "disk full" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_what_a_killed_export_left_goes_with_the_next(tmp_path: Path, source: Path) -> None:
    held_by_nobody = tmp_path / ".other.unfinished-export"
    held_by_nobody.mkdir()
    (held_by_nobody / "unfinished-00000.safetensors").write_bytes(bytes(100))
    (tmp_path / ".other.unfinished-export.lock").touch()
    somebodys_own = tmp_path / ".mine.unfinished-export"  # no lock beside it, so no export of ours
    somebodys_own.mkdir()
    assert export(source, tmp_path / "llama") == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == [somebodys_own.name]


def test_an_export_that_runs_is_left_alone(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with llama_export.complete_or_nothing(tmp_path / "running", needed=1) as folder:
        (folder / "file").write_text("being written")
        assert export(source, tmp_path / "running") == 2
        assert "another export is writing it" in capsys.readouterr().err
        assert export(source, tmp_path / "llama") == 0
        assert (folder / "file").read_text() == "being written"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llama", "running", source.name]


def test_a_destination_below_a_file_is_refused(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert export(source, tmp_path / "file" / "llama") == 2
    assert "nothing can be written there (Not a directory)" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["weight", "head", "token"])
def test_the_checks_see_damage(tmp_path: Path, source: Path, damage: str) -> None:
    export(source, tmp_path / "llama")
    written, config = tmp_path / "llama", llama_export.llama_ready_config(source)
    if damage == "token":
        text = (written / "tokenizer.json").read_text(encoding="utf-8")
        (written / "tokenizer.json").write_text(text.replace('"ignore_merges": true', '"ignore_merges": false'))
        with pytest.raises(CheckpointError, match="other ids than sentencepiece"):
            llama_check.check_token_ids(source, written)
        return
    state = load_file(written / "model.safetensors")
    name = "lm_head.weight" if damage == "head" else "model.layers.1.self_attn.k_proj.weight"
    state[name] = state[name].flip(0).contiguous()
    save_file(state, written / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=name):
        llama_check.check_tensors_equal(source, written, config)
    with pytest.raises(CheckpointError, match="logits of the written checkpoint differ"):
        llama_check.logit_difference(source, written, config)


def test_a_disk_that_gets_full_is_named_and_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(llama_export, "save_file", full)
    assert export(source, tmp_path / "llama") == 2
    assert "the weights could not be written" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_too_little_disk_is_seen_first(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match="GB free"),
        llama_export.complete_or_nothing(tmp_path / "llama", needed=10**18),
    ):
        pass


def test_a_quantized_or_foreign_source_is_refused(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "quantization_config": {"bits": 4}}))
    assert export(source, tmp_path / "llama") == 2
    assert "quantized" in capsys.readouterr().err
    (source / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    assert export(source, tmp_path / "llama") == 2
    assert "expected 'baichuan'" in capsys.readouterr().err
