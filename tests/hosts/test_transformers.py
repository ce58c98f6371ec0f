"""transformers's names that we lean on are where we look for them."""

from __future__ import annotations

import inspect
import re

import pytest
from looking_up import check
from transformers import PreTrainedModel

from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.hosts import Lean
from lm_eval_baichuan.model_adapters.hosts.transformers import LEANS, LOADING_OPTIONS


@pytest.mark.parametrize("lean", LEANS, ids=lambda lean: lean.where)
def test_a_name_has_not_moved(lean: Lean) -> None:
    check(lean)


def test_our_attention_can_be_set() -> None:
    # Transformers reads the text of baichuan/modeling.py to find out.
    assert BaichuanForCausalLM._can_set_attn_implementation()


def test_every_option_that_the_loader_takes_is_known() -> None:
    taken = set(re.findall(r"""kwargs\.pop\("([a-z]\w*)\"""", inspect.getsource(PreTrainedModel.from_pretrained)))
    assert len(taken) > 20
    assert taken - LOADING_OPTIONS == {"torch_dtype"}, "torch_dtype is refused; add the others to LOADING_OPTIONS"
