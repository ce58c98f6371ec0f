"""Whatever a config.json says is obeyed, or refused by its name; no value ends in a traceback that names no file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_config
from transformers import LlamaConfig, LlamaForCausalLM

from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.baichuan.layouts import CheckedCausalLM, checkpoint_config
from lm_eval_baichuan.model_adapters.errors import CheckpointError, OptionError

Write = Callable[..., Path]

GONE = object()
VALUES: tuple[Any, ...] = (
    GONE, None, True, False, 0, 1, -1, 1.5, 10**12, 10**400, float("nan"), float("inf"), "x", "1e-6", "false",
    [], [1], {}, {"a": 1},
)  # fmt: skip
# Keys that the tiny configurations do not have, but others do.
MORE_KEYS = (
    "norm_head", "position_embedding", "model_max_length", "rope_theta", "rope_scaling", "rope_parameters",
    "num_key_value_heads", "head_dim", "sliding_window", "layer_types", "quantization_config", "attn_implementation",
    "_attn_implementation", "dtype", "torch_dtype", "transformers_weights", "configuration_files", "id2label",
    "num_labels", "return_dict", "output_attentions", "output_hidden_states", "is_encoder_decoder", "auto_map",
    "problem_type", "per_layer_config", "attention_bias", "max_length", "temperature", "pruned_heads",
)  # fmt: skip


def write_llama(folder: Path) -> Path:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        max_position_embeddings=64,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(params=["rope", "alibi", "llama"])
def folder(request: pytest.FixtureRequest, checkpoint: Write, tmp_path: Path) -> Path:
    if request.param == "llama":
        return write_llama(tmp_path)
    return checkpoint("baichuan1-7b" if request.param == "rope" else "baichuan2-13b", num_hidden_layers=1)


@torch.no_grad()
def logits(folder: Path) -> torch.Tensor:
    model = CheckedCausalLM.from_pretrained(str(folder), config=checkpoint_config(str(folder)))
    result: torch.Tensor = model(torch.tensor([[5, 6, 7, 8]])).logits
    return result


@pytest.mark.filterwarnings("ignore")  # what transformers thinks of such values
def test_every_value_of_every_key_loads_or_stops_by_name(folder: Path) -> None:
    file = folder / "config.json"
    written = json.loads(file.read_text())
    loaded, stopped = 0, 0
    for key in [*written, *MORE_KEYS]:
        for value in VALUES:
            mutated = {**written, key: value}
            if value is GONE:
                del mutated[key]
            file.write_text(json.dumps(mutated))
            try:
                assert logits(folder).isfinite().all(), (key, value)
                loaded += 1
            except CheckpointError as error:
                assert str(folder) in str(error), (key, value)
                assert "config" in str(error), (key, value, error)
                stopped += 1
            except Exception as error:
                raise AssertionError((key, value)) from error
    assert loaded > 150
    assert stopped > 250


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("num_hidden_layers", 1.5, "a whole number from 1 to 1000"),
        ("num_hidden_layers", 10**9, "a whole number from 1 to 1000"),
        ("rms_norm_eps", "1e-6", "a number above 0"),
        ("hidden_act", "x", "the name of an activation"),
        ("hidden_size", -32, "a whole number above 0"),
        ("hidden_size", None, "a whole number above 0"),
        ("hidden_size", 33, "num_attention_heads = 4 does not divide"),
        ("vocab_size", [97], "a whole number above 0"),
        ("use_cache", "false", "true or false"),
        ("model_type", None, "'baichuan' or 'llama'"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(folder: Path, key: str, value: object, expected: str) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(CheckpointError) as error:
        logits(folder)
    assert str(error.value).startswith(f"{file}: {key} is {value!r}") and expected in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe{\x00}\x00", b'{"a": "\xff"}', b"[" * 10**5]
)
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_damaged_file_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        logits(folder)
    assert str(folder / name) in str(error.value)


@pytest.mark.parametrize("norm_head", ["false", "true", 1, 0, 0.0, [], "False"])
def test_a_norm_head_is_true_or_false(checkpoint: Write, norm_head: object) -> None:
    folder = checkpoint()
    with pytest.raises(CheckpointError, match="norm_head is .*; expected true or false"):
        BaichuanForCausalLM.from_pretrained(folder, norm_head=norm_head)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "norm_head": norm_head}))
    with pytest.raises(CheckpointError, match="norm_head is .*; expected true or false"):
        BaichuanForCausalLM.from_pretrained(folder)


def test_a_llama_with_a_norm_head_is_refused(tmp_path: Path) -> None:
    file = write_llama(tmp_path) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "norm_head": True}))
    with pytest.raises(CheckpointError, match="norm_head is True; expected false or null"):
        logits(tmp_path)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize(
    "name", ["org/kernel", "kernels-community/flash-attn", "flash_attention_2", {"": "org/kernel"}]
)
def test_a_kernel_from_the_hub_is_never_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, key: str, name: object
) -> None:
    def reached(*args: object, **kwargs: object) -> None:
        raise AssertionError("a loader of kernels was reached")

    monkeypatch.setattr("transformers.modeling_utils.lazy_import_flash_attention", reached)
    file = folder / "config.json"
    written = json.loads(file.read_text())
    file.write_text(json.dumps({**written, key: name}))
    with pytest.raises(CheckpointError, match=rf"{key} is .*Kernels from the hub are code"):
        logits(folder)
    file.write_text(json.dumps(written))
    config = checkpoint_config(str(folder))
    with pytest.raises(OptionError, match="attn_implementation is .*Kernels from the hub are code"):
        CheckedCausalLM.from_pretrained(str(folder), config=config, attn_implementation=name)


@pytest.mark.parametrize(
    "option",
    [
        {"use_kernels": True}, {"kernel_config": {"a": "b"}}, {"allow_all_kernels": True}, {"variant": "fp16"},
        {"use_safetensors": False}, {"ignore_mismatched_sizes": True}, {"key_mapping": {"a": "b"}}, {"nothing": 1},
    ],
)  # fmt: skip
def test_an_option_that_is_not_obeyed_is_refused(folder: Path, option: dict[str, object]) -> None:
    config = checkpoint_config(str(folder))
    with pytest.raises(OptionError, match=next(iter(option))):
        CheckedCausalLM.from_pretrained(str(folder), config=config, **option)


IGNORED = {
    "rope_scaling": {"type": "linear", "factor": 4.0},
    "num_key_value_heads": 2,
    "sliding_window": 2,
    "logit_scale": 0.5,
    "head_dim": 64,
}
SAYS_NOTHING = {"sliding_window": None, "attention_bias": False, "num_key_value_heads": 4, "head_dim": 8}


def test_what_the_familys_code_ignores_changes_nothing_and_is_said(
    checkpoint: Write, caplog: pytest.LogCaptureFixture
) -> None:
    folder = checkpoint("baichuan1-7b", num_hidden_layers=1)
    file = folder / "config.json"
    written = json.loads(file.read_text())
    expected = logits(folder)
    file.write_text(json.dumps({**written, **SAYS_NOTHING}))
    torch.testing.assert_close(logits(folder), expected)
    assert "changes nothing" not in caplog.text
    file.write_text(json.dumps({**written, **IGNORED}))
    model = BaichuanForCausalLM.from_pretrained(folder)
    assert caplog.text.count("changes nothing") == 1 and "rope_scaling=" in caplog.text
    assert model.config.ignored_config == IGNORED
    assert not hasattr(model.config, "sliding_window") and not hasattr(model.config, "num_key_value_heads")
    prompt = torch.tensor([[5, 6, 7, 8, 9, 10]])
    with torch.no_grad():
        torch.testing.assert_close(model(prompt[:, :4]).logits, logits(folder)[:, :4])
        whole = model(prompt).logits[:, -1]
        first = model(prompt[:, :5], use_cache=True)  # a cache cut to a sliding window of 2 would give other logits
        name = next(name for name in ("cache", "past_key_values") if name in first)
        assert torch.allclose(model(prompt[:, 5:], **{name: first[name]}).logits[:, -1], whole, atol=1e-5)


def test_what_is_ignored_stays_in_a_saved_configuration(tmp_path: Path) -> None:
    config = tiny_config("baichuan2-7b", **IGNORED)
    config.save_pretrained(tmp_path)
    again = BaichuanConfig.from_pretrained(tmp_path)
    assert again.ignored_config == config.ignored_config == IGNORED
    assert json.loads((tmp_path / "config.json").read_text())["rope_scaling"] == IGNORED["rope_scaling"]
    assert "ignored_config" not in json.loads((tmp_path / "config.json").read_text())


@pytest.mark.parametrize("method", ["awq", "fp8", "nonsense", None, 3])
def test_a_quantization_that_is_not_served_is_named(folder: Path, method: object) -> None:
    file = folder / "config.json"
    config = {**json.loads(file.read_text()), "quantization_config": {"quant_method": method, "bits": 4}}
    file.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=rf"config\.json: quantization_config has quant_method .*{method}"):
        logits(folder)


def test_a_quantization_config_beside_plain_weights_is_named(folder: Path) -> None:
    pytest.importorskip("bitsandbytes")
    file = folder / "config.json"
    quantization = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    file.write_text(json.dumps({**json.loads(file.read_text()), "quantization_config": quantization}))
    with pytest.raises(CheckpointError, match="none is quantized: all are of floating point"):
        logits(folder)


@pytest.mark.parametrize(("family", "said"), [("baichuan1-7b", True), ("baichuan1-13b", False)])
def test_a_base_of_the_rotary_frequencies_that_the_official_code_ignores_is_said(
    checkpoint: Write, caplog: pytest.LogCaptureFixture, family: str, said: bool
) -> None:
    BaichuanForCausalLM.from_pretrained(checkpoint(family, rope_theta=500.0))
    assert ("rope_theta is 500.0 and is obeyed" in caplog.text) is said
