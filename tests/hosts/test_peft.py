"""peft's names that we lean on are where we look for them."""

from __future__ import annotations

import pytest
from looking_up import check

from lm_eval_baichuan.model_adapters.hosts import Lean
from lm_eval_baichuan.model_adapters.hosts.peft import LEANS

pytest.importorskip("peft")


@pytest.mark.parametrize("lean", LEANS, ids=lambda lean: lean.where)
def test_a_name_has_not_moved(lean: Lean) -> None:
    check(lean)
