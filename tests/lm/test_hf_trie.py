"""``--model hf-trie`` against lm-eval's ``hf``, through lm-eval's own loop: the same scores, whatever the family."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from any_model import FAMILIES, tiny_model
from any_tasks import NAMES, OTHERS, exam_manager, write_exams
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from small_tokenizers import byte_level

from lm_eval_baichuan.model_adapters.lm.trie_lm import TrieLM

pytestmark = pytest.mark.filterwarnings("ignore")  # of lm-eval's and of the libraries it uses

Evaluate = Callable[..., dict[str, Any]]

LENGTH = 512


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluate]:
    """Asks all tasks of a model."""
    manager = exam_manager(write_exams(tmp_path_factory.mktemp("data")))
    tasks = [*manager.load(NAMES[:2])["tasks"].values(), *(ConfigurableTask(config=dict(task)) for task in OTHERS)]

    def run(model: Any, **options: Any) -> dict[str, Any]:
        results: dict[str, Any] = lm_eval.simple_evaluate(
            model=model, tasks=tasks, task_manager=manager, bootstrap_iters=0, **options
        )
        return results

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)  # describes the machine, slowly
        yield run


def answers(results: dict[str, Any]) -> dict[tuple[str, int], list[float]]:
    """The log-likelihoods of every document."""
    found = {}
    for task, samples in results["samples"].items():
        for sample in samples:
            responses = sample["filtered_resps"]  # a rolling one is a number, the others say too if they are greedy
            found[task, sample["doc_id"]] = [each[0] if isinstance(each, tuple) else each for each in responses]
    return found


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    found, expected = answers(ours), answers(theirs)
    assert found.keys() == expected.keys()
    assert {task for task, _ in found} == set(NAMES)
    for key, scores in expected.items():
        # hf adds up in float32, which rounds the total of a long text by more than 1e-4.
        assert found[key] == pytest.approx(scores, abs=1e-4, rel=torch.finfo(torch.float32).eps), key
    for task in NAMES:
        for metric, value in theirs["results"][task].items():
            if isinstance(value, float):
                exact = metric.startswith("acc")
                assert ours["results"][task][metric] == pytest.approx(value, rel=0 if exact else 1e-5), (task, metric)


QUICK = ("llama", "gemma2", "gpt2")


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
def test_the_trie_scores_as_hf_does(evaluate: Evaluate, family: str) -> None:
    tokenizer = byte_level()
    model = tiny_model(family)
    theirs = evaluate(HFLM(model, tokenizer=tokenizer, batch_size=8, max_length=LENGTH))
    # A budget smaller than a prompt, so that rows are cut; hf asks joint label tokens, whatever a task publishes.
    trie = TrieLM(model, tokenizer=tokenizer, max_length=LENGTH, token_budget=100, label_tokens="joint")
    ours = evaluate(trie)
    facts = ours["config"]["hf_trie"]
    assert facts["scorer"].startswith("token trie"), facts["scorer"]
    assert facts["tokens_run"] < 0.6 * facts["tokens_sent"]
    same(ours, theirs)


def test_by_name_and_from_a_folder(evaluate: Evaluate, tmp_path: Path) -> None:
    tiny_model("qwen2").save_pretrained(tmp_path)
    byte_level().save_pretrained(tmp_path)
    arguments = {"pretrained": str(tmp_path), "dtype": "float32", "max_length": LENGTH}
    options = {"device": "cpu", "batch_size": 4}
    theirs = evaluate("hf", model_args=arguments, **options)
    ours = evaluate("hf-trie", model_args={**arguments, "label_tokens": "joint"}, **options)
    assert ours["config"]["hf_trie"]["scorer"].startswith("token trie")
    same(ours, theirs)
    json.dumps(ours["config"]["hf_trie"])


def test_the_published_question_is_asked_of_any_model_and_random_shots_show(evaluate: Evaluate) -> None:
    facts = evaluate(TrieLM(tiny_model("qwen2"), tokenizer=byte_level(), max_length=LENGTH))["config"]["hf_trie"]
    assert facts["label_tokens"] == {"isolated": ["mmlu_5shot_anatomy"], "bare": ["cmmlu_5shot_anatomy"]}
    by_task = facts["tokens_by_task"]
    assert set(by_task) == set(NAMES)
    for task in ("arc_shaped", "hellaswag_shaped"):  # other shots for each document: only the options share
        assert by_task[task]["saved_between_documents"] < 0.1 < 0.5 < by_task[task]["saved_within_documents"]
    for task in ("first_n_shots", *NAMES[:2]):
        assert by_task[task]["saved_between_documents"] > 0.5
    assert by_task["several_tokens"]["saved_within_documents"] == 0
    assert by_task["rolling"]["saved"] < 0.01  # the token before the texts


@pytest.mark.parametrize(
    ("option", "library"), [({"load_in_8bit": True}, "bitsandbytes"), ({"torchao": "int8"}, "torchao")]
)
def test_weights_are_quantized_while_loading(tmp_path: Path, option: dict[str, Any], library: str) -> None:
    pytest.importorskip(library)
    tiny_model("qwen2").save_pretrained(tmp_path)
    byte_level().save_pretrained(tmp_path)
    lm = TrieLM(str(tmp_path), dtype="fp32", **option)  # no device: lm-eval's own default is CUDA, here or not
    assert lm.get_model_info()["hf_trie"]["quantization"] == f"8 bits, {library}"
    kinds = {type(module).__name__ for module in lm.model.modules()}
    assert "Linear8bitLt" in kinds if library == "bitsandbytes" else lm.model.dtype == torch.float32
