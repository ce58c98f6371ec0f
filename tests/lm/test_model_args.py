"""Names, dtypes and devices in ``--model_args``, and where a result comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lm_eval.models.huggingface import HFLM

from lm_eval_baichuan.model_adapters.errors import OptionError
from lm_eval_baichuan.model_adapters.lm import model_args, provenance
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM
from lm_eval_baichuan.model_adapters.lm.trie_lm import TrieLM


@pytest.mark.parametrize("adapter", [BaichuanLM, TrieLM])
@pytest.mark.parametrize(
    "name",
    ["pretrained", "parallelize", "think_end_token", "attn_implementation", "load_in_4bit", "bnb_4bit_quant_type"]
    + ["label_tokens", "self_check", "system_text"],
)
def test_options_of_every_layer_are_known(adapter: type, name: str) -> None:
    model_args.check_names([name], model_args.option_names(adapter, HFLM))


@pytest.mark.parametrize("name", ["norm_head", "torchao", "check_memory", "rope_theta"])
def test_baichuans_own_options_are_known(name: str) -> None:
    BaichuanLM.check_model_args({"pretrained": "demo", name: "x"})


def test_names_of_a_configuration_are_left_to_it_unless_they_are_slips() -> None:
    known = model_args.option_names(TrieLM, HFLM)
    assert model_args.check_names(["rope_theta", "num_experts_per_tok", "dtype"], known, others=True) == [
        "rope_theta",
        "num_experts_per_tok",
    ]
    with pytest.raises(OptionError, match="no option batchsize. Did you mean batch_size"):
        model_args.check_names(["batchsize"], known, others=True)


@pytest.mark.parametrize("given", sorted(set(model_args.DTYPES) - {"auto"}))
def test_every_name_of_a_dtype_is_the_one_that_torch_means(given: str) -> None:
    assert getattr(torch, model_args.dtype_name(given)) == getattr(
        torch, given, getattr(torch, model_args.DTYPES[given])
    )
    assert model_args.dtype_name(f"torch.{given}") == model_args.DTYPES[given]


def test_a_short_name_of_a_dtype_loads_in_it() -> None:
    assert BaichuanLM("demo", device="cpu", dtype="bf16", self_check=False).model.dtype == torch.bfloat16


@pytest.mark.parametrize("given", [{}, {"device": None}])
def test_where_python_names_no_device_it_is_the_one_that_the_command_takes(given: dict[str, None]) -> None:
    # HFLM's own default is CUDA, which ends in torch's assertion where there is none.
    assert BaichuanLM("demo", self_check=False, **given).device.type == model_args.default_device()
    assert model_args.default_device() == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_device_is_named_as_it_is() -> None:
    model_args.check_device("cpu", may_be_default=False)
    model_args.check_device(None, may_be_default=False)
    for wrong in ("cpu:1", "gpu", "cuda:99"):
        with pytest.raises(OptionError, match="which is not here. Here are: cpu"):
            model_args.check_device(wrong, may_be_default=True)


def test_a_commit_is_the_recorded_one_or_the_checkouts(tmp_path: Path) -> None:
    assert provenance.commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert provenance.commit(tmp_path) == head
    (tmp_path / "file").write_text("2")
    assert provenance.commit(tmp_path) == f"{head}-dirty"
    (tmp_path / "commit.txt").write_text("recorded\n")
    assert provenance.commit(tmp_path) == "recorded"


def test_libraries_are_those_in_use() -> None:
    plain = torch.nn.Linear(1, 1)
    facts = provenance.provenance(SimpleNamespace(model=plain, config=None, device=torch.device("cpu")))
    assert facts["device"] == "cpu"
    assert facts["libraries"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert not {"peft", "torchao", "bitsandbytes"} & set(facts["libraries"])
    plain.config = SimpleNamespace(quantization_config={"quant_method": "torchao"})  # type: ignore[assignment]
    plain.peft_config = {"default": 1}  # type: ignore[assignment]
    facts = provenance.provenance(SimpleNamespace(model=plain, config=None, device=torch.device("cpu")))
    assert {"peft", "torchao"} <= set(facts["libraries"])
