"""A checkpoint that is not whole, or not what its configuration says, stops with names; none of its code runs."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.baichuan.checkpoint import local_checkpoint
from lm_eval_baichuan.model_adapters.errors import CheckpointError, TokenizerError

Write = Callable[..., Path]
QKV = "model.layers.1.self_attn.W_pack.weight"


def load(folder: Path, **options: object) -> BaichuanForCausalLM:
    model = AutoModelForCausalLM.from_pretrained(folder, **options)
    assert isinstance(model, BaichuanForCausalLM)
    return model


def edit_state(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = torch.load(folder / "pytorch_model.bin")
    change(state)
    torch.save(state, folder / "pytorch_model.bin")


def shard(folder: Path, parts: int = 3, suffix: str = "bin") -> list[Path]:
    state = torch.load(folder / "pytorch_model.bin")
    (folder / "pytorch_model.bin").unlink()
    stem = "pytorch_model" if suffix == "bin" else "model"
    names = sorted(state)
    files, weight_map = [], {}
    for i in range(parts):
        file = folder / f"{stem}-{i + 1:05d}-of-{parts:05d}.{suffix}"
        part = {name: state[name] for name in names[i::parts]}
        torch.save(part, file) if suffix == "bin" else save_file(part, file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file.name))
        files.append(file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return files


@pytest.mark.parametrize("form", ["bin", "sharded bin", "safetensors", "sharded safetensors", "old pickle"])
def test_every_form_of_weights_gives_the_same_numbers(checkpoint: Write, form: str) -> None:
    folder = checkpoint()
    expected = torch.load(folder / "pytorch_model.bin")
    if form.startswith("sharded"):
        shard(folder, suffix=form.split()[1])
    elif form == "safetensors":
        (folder / "pytorch_model.bin").unlink()
        save_file(expected, folder / "model.safetensors", metadata={"format": "pt"})
    elif form == "old pickle":
        torch.save(expected, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    found = load(folder).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_rotary_buffers_of_the_first_generation_are_accepted_and_ignored(checkpoint: Write) -> None:
    folder = checkpoint()
    edit_state(folder, lambda s: s.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.full((4,), 9e9)}))
    with torch.no_grad():
        assert torch.isfinite(load(folder)(torch.tensor([[1, 2, 3]])).logits).all()


def test_missing_extra_and_misshapen_tensors_are_named_with_shapes(checkpoint: Write) -> None:
    folder = checkpoint()

    def change(state: dict[str, torch.Tensor]) -> None:
        del state["model.norm.weight"]
        state["model.layers.0.extra.bias"] = torch.zeros(5)
        state[QKV] = state[QKV][:, :30].clone()

    edit_state(folder, change)
    with pytest.raises(CheckpointError) as error:
        load(folder)
    text = str(error.value)
    assert "model.norm.weight: missing, expected shape [32]" in text
    assert "model.layers.0.extra.bias: unexpected, shape [5] in pytorch_model.bin" in text
    assert f"{QKV}: has shape [96, 30] in pytorch_model.bin, but config.json describes [96, 32]" in text


def test_a_missing_shard_is_named(checkpoint: Write) -> None:
    folder = checkpoint()
    shard(folder)[1].unlink()
    with pytest.raises(CheckpointError, match=r"1 of the 3 shards .* pytorch_model-00002-of-00003\.bin"):
        load(folder)


def test_a_shard_of_another_model_is_named(checkpoint: Write, tmp_path: Path) -> None:
    folder = checkpoint()
    files = shard(folder)
    state = torch.load(files[1])
    torch.save({name: torch.zeros(3, 3) for name in state}, files[1])
    with pytest.raises(CheckpointError, match=r"shape \[3, 3\] in pytorch_model-00002-of-00003\.bin"):
        load(folder)


def test_a_shard_of_another_model_with_the_same_shapes_is_told_by_its_dtype(checkpoint: Write) -> None:
    folder = checkpoint()
    files = shard(folder, parts=2)
    other = {name: tensor.to(torch.bfloat16) for name, tensor in torch.load(files[1]).items()}
    torch.save(other, files[1])
    with pytest.raises(CheckpointError, match="differ in dtype: .* float32 in .*00001.* bfloat16 in .*00002"):
        load(folder)


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_norms_of_another_dtype_than_the_matrices_are_no_foreign_shard(checkpoint: Write, suffix: str) -> None:
    folder = checkpoint()
    edit_state(folder, lambda s: s.update({name: t.double() for name, t in s.items() if "norm" in name}))
    shard(folder, suffix=suffix)
    load(folder)


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_a_tensor_that_two_shards_hold_is_named(checkpoint: Write, suffix: str) -> None:
    folder = checkpoint()
    files = shard(folder, suffix=suffix)
    both = {QKV: torch.ones(96, 32)}
    for file in files[:2]:
        read = torch.load(file) if suffix == "bin" else load_file(file)
        state = {**read, **both}
        torch.save(state, file) if suffix == "bin" else save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"{QKV}: in .*0000[12].* and again in .*0000[23]"):
        load(folder)


def test_an_index_that_places_tensors_in_the_wrong_shards_does_no_harm(checkpoint: Write) -> None:
    folder = checkpoint()
    expected = torch.load(folder / "pytorch_model.bin")
    shard(folder)
    index = folder / "pytorch_model.bin.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    rotated = dict(zip(weight_map, [*list(weight_map.values())[1:], list(weight_map.values())[0]], strict=True))
    index.write_text(json.dumps({"metadata": {"total_size": 7}, "weight_map": rotated}))
    found = load(folder).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_an_index_left_over_beside_the_real_file_does_no_harm(checkpoint: Write) -> None:
    folder = checkpoint()
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"x": "gone.bin"}}))
    load(folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"metadata": {}}'])
def test_a_damaged_index_is_named(checkpoint: Write, content: str) -> None:
    folder = checkpoint()
    (folder / "pytorch_model.bin").unlink()
    (folder / "pytorch_model.bin.index.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin\.index\.json: (not|holds)"):
        load(folder)


@pytest.mark.parametrize("form", ["bin", "safetensors", "old pickle"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_a_truncated_file_is_named(checkpoint: Write, form: str, keep: float) -> None:
    folder = checkpoint()
    file = folder / "pytorch_model.bin"
    state = torch.load(file)
    if form == "safetensors":
        file.unlink()
        file = folder / "model.safetensors"
        save_file(state, file, metadata={"format": "pt"})
    elif form == "old pickle":
        torch.save(state, file, _use_new_zipfile_serialization=False)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(CheckpointError, match=f"{file.name}.*(truncated|damaged)"):
        load(folder)


class Malicious:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (f"touch {self.mark}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")  # torch's own words before it refuses
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused(checkpoint: Write, tmp_path: Path, zipped: bool) -> None:
    folder, mark = checkpoint(), tmp_path / "ran"
    torch.save({"x": Malicious(mark)}, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="refused"):
        load(folder)
    assert not mark.exists()
    with (folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump(Malicious(mark), file)
    with pytest.raises(CheckpointError):
        load(folder)
    assert not mark.exists()


@pytest.mark.parametrize("trust", [False, None])
def test_python_in_a_checkpoint_never_runs(
    checkpoint: Write, tmp_path: Path, small_tokenizer: Path, trust: object
) -> None:
    folder, mark = checkpoint(), tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w').close()\n"
    for name in ("configuration_baichuan.py", "modeling_baichuan.py", "tokenization_baichuan.py"):
        (folder / name).write_text(code)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "configuration_baichuan.BaiChuanConfig",
        "AutoModelForCausalLM": "modeling_baichuan.BaiChuanForCausalLM",
    }
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(small_tokenizer, folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "auto_map": {"AutoTokenizer": ["tokenization_baichuan.BaiChuanTokenizer", None]},
                "tokenizer_class": "BaiChuanTokenizer",
            }
        )
    )
    options = {} if trust is None else {"trust_remote_code": trust}
    assert type(AutoConfig.from_pretrained(folder, **options)).__module__.startswith("lm_eval_baichuan")
    load(folder, **options)
    assert type(AutoTokenizer.from_pretrained(folder, **options)).__module__.startswith("lm_eval_baichuan")
    assert not mark.exists()


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        local_checkpoint(tmp_path / "nowhere")


def test_folder_without_configuration_or_weights(tmp_path: Path, checkpoint: Write) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        local_checkpoint(tmp_path)
    folder = checkpoint()
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match="no weights"):
        load(folder)


def test_folder_without_tokenizer(checkpoint: Write) -> None:
    from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM

    with pytest.raises(TokenizerError, match=r"no tokenizer\.model"):
        BaichuanLM(str(checkpoint()), device="cpu")


@pytest.mark.parametrize("stated", ["missing", "float16", "bfloat16"])
def test_a_missing_or_wrong_stated_dtype_does_not_decide(checkpoint: Write, stated: str) -> None:
    folder = checkpoint()
    config = json.loads((folder / "config.json").read_text())
    config.pop("dtype", None)
    if stated != "missing":
        config["torch_dtype"] = stated
    (folder / "config.json").write_text(json.dumps(config))
    expected = torch.load(folder / "pytorch_model.bin")
    model = load(folder, dtype=torch.float32)
    assert model.dtype == torch.float32
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
