"""Looking up the hosts' names fails when one moves, and says which and whose it was."""

from __future__ import annotations

import pytest
from looking_up import Moved, check

from lm_eval_baichuan.model_adapters.hosts import Lean


@pytest.mark.parametrize(
    "where",
    [
        "transformers.no_such_module:anything",
        "transformers.modeling_utils:no_such_function",
        "transformers.modeling_utils:PreTrainedModel._no_such_method",
        "lm_eval.models.huggingface:HFLM._no_such_attribute",
    ],
)
def test_a_name_that_is_gone(where: str) -> None:
    with pytest.raises(Moved, match=rf"has moved {where}\. some.module needs it\. Mend hosts/\w+\.py"):
        check(Lean(where, "some.module needs it"))


@pytest.mark.parametrize("parameters", [("state_dict", "model"), ("model", "states")], ids=["order", "renamed"])
def test_parameters_that_moved(parameters: tuple[str, ...]) -> None:
    where = "transformers.modeling_utils:PreTrainedModel._load_pretrained_model"
    with pytest.raises(Moved, match=f"Expected the parameters {', '.join(parameters)}; it has model, state_dict"):
        check(Lean(where, "some.module needs it", parameters))
