"""``--use_cache``: answers of earlier runs, and only to the question that is asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook, CachingLM
from lm_eval.tasks import TaskManager

from lm_eval_baichuan import tasks
from lm_eval_baichuan.model_adapters.errors import CacheError
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM
from lm_eval_baichuan.model_adapters.lm.trie_lm import TrieLM

pytestmark = pytest.mark.filterwarnings("ignore")  # of lm-eval's and of the libraries it uses

baichuan = partial(BaichuanLM, device="cpu")
Write = Callable[..., str]
Ask = Callable[..., list[tuple[float, bool]]]
SHOTS = ["What is your name? A\n", "A. one B. two C. three D. four\n", "What is A? B\n"]
WAYS_OUT = "Give --use_cache another path, or delete the file"


def questions(count: int = 6, **doc: Any) -> list[Instance]:
    """Questions of four labels with shots that can be dropped."""
    made = []
    for number in range(count):
        question = f"What is {'name ' * number}? "
        fields = {
            "description_length": 0,
            "shot_lengths": list(map(len, SHOTS)),
            "question_length": len(question),
            "drop_shots": "last",
            "label_tokens": "isolated",
            **doc,
        }
        made += [
            Instance("loglikelihood", fields, ("".join(SHOTS) + question, label), i, ("some_task", number, 1))
            for i, label in enumerate("ABCD")
        ]
    return made


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Asks a model behind the one cache of the test."""

    def run(lm: Any, requests: list[Instance] | None = None) -> list[tuple[float, bool]]:
        cached = CachingLM(lm, str(tmp_path / "cache.db"))
        try:
            answers: list[tuple[float, bool]] = cached.loglikelihood(questions() if requests is None else requests)
            return answers
        finally:
            cached.dbdict.close()
            lm.cache_hook = CacheHook(None)

    return run


def test_the_same_model_is_answered_from_its_cache(write_checkpoint: Write, ask: Ask) -> None:
    folder = write_checkpoint()
    first = ask(baichuan(folder))
    again = baichuan(folder)
    again._loglikelihood_tokens = lambda *_: pytest.fail("scored anew")  # type: ignore[method-assign]
    assert ask(again) == first


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dtype": "bfloat16"}, "dtype was 'float32', is 'bfloat16'"),
        ({"max_length": 40}, "max_length was 512, is 40"),
        ({"label_tokens": "bare"}, "label_tokens was None, is 'bare'"),
        ({"trie": False}, "scorer was 'token trie', is 'lm-eval batches'"),
        ({"norm_head": True}, "config.norm_head was False, is True"),
        ({"system_text": "drop"}, "system_text was 'own', is 'drop'"),
    ],
)
def test_another_setting_stops_and_names_both_values(
    write_checkpoint: Write, ask: Ask, options: dict[str, Any], named: str
) -> None:
    folder = write_checkpoint()
    ask(baichuan(folder, dtype="float32"))
    with pytest.raises(CacheError, match=WAYS_OUT) as stopped:
        ask(baichuan(folder, **{"dtype": "float32", **options}))
    assert named in str(stopped.value)


def test_one_other_number_in_the_weights_stops(write_checkpoint: Write, ask: Ask) -> None:
    folder = write_checkpoint()
    ask(baichuan(folder))
    other = baichuan(folder)
    with torch.no_grad():
        next(other.model.parameters())[3, 5] += 0.5
    with pytest.raises(CacheError, match="weights was '[0-9a-f]{16}', is '[0-9a-f]{16}'"):
        ask(other)


@pytest.mark.parametrize("library", [torch, transformers], ids=["torch", "transformers"])
def test_another_release_of_a_library_stops(
    write_checkpoint: Write, ask: Ask, monkeypatch: pytest.MonkeyPatch, library: ModuleType
) -> None:
    folder = write_checkpoint()
    ask(baichuan(folder))
    again, release = baichuan(folder), library.__version__
    monkeypatch.setattr(library, "__version__", "99.0")
    with pytest.raises(CacheError, match=f"{library.__name__} was '{re.escape(str(release))}', is '99.0'"):
        ask(again)


def test_the_folder_name_and_the_time_of_its_files_are_no_difference(write_checkpoint: Write, ask: Ask) -> None:
    first = ask(baichuan(write_checkpoint(name="one")))
    assert ask(baichuan(write_checkpoint(name="two"))) == first


def test_an_adapter_stops(write_checkpoint: Write, ask: Ask, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    folder = write_checkpoint()
    lm = baichuan(folder)
    ask(lm)
    options = peft.LoraConfig(r=2, target_modules=["W_pack"], init_lora_weights=False)
    peft.get_peft_model(lm.model, options).save_pretrained(tmp_path / "adapter")
    with pytest.raises(CacheError, match="adapter was None, is '[0-9a-f]{16}'"):
        ask(baichuan(folder, peft=str(tmp_path / "adapter")))


def test_a_filled_cache_that_does_not_say_what_filled_it_stops(
    write_checkpoint: Write, ask: Ask, tmp_path: Path
) -> None:
    with_nothing_said = CachingLM(SimpleNamespace(set_cache_hook=lambda _: None), str(tmp_path / "cache.db"))
    with_nothing_said.dbdict["0" * 64] = (-1.0, True)
    with_nothing_said.dbdict.close()
    with pytest.raises(CacheError, match="holds 1 answers but not what computed them.*" + WAYS_OUT):
        ask(baichuan(write_checkpoint()))


def test_hf_trie_checks_as_well(write_checkpoint: Write, ask: Ask) -> None:
    loaded = baichuan(write_checkpoint())
    first = ask(TrieLM(loaded.model, device="cpu", tokenizer=loaded.tokenizer))
    assert ask(TrieLM(loaded.model, device="cpu", tokenizer=loaded.tokenizer)) == first
    with pytest.raises(CacheError, match="max_length was 512, is 100"):
        ask(TrieLM(loaded.model, device="cpu", tokenizer=loaded.tokenizer, max_length=100))


def near(some: list[tuple[float, bool]], others: list[tuple[float, bool]]) -> bool:
    """Whether two lists of answers differ by rounding only: fewer requests together may be added up otherwise."""
    return [greedy for _, greedy in some] == [greedy for _, greedy in others] and [
        logprob for logprob, _ in some
    ] == pytest.approx([logprob for logprob, _ in others], abs=1e-5)


FACTS = ("label_tokens", "shortened_prompts", "truncated_prompts", "tokens_by_task", "ties")


def facts(lm: TrieLM) -> dict[str, Any]:
    """What the results say of the requests, whoever answered them."""
    lm.barrier()
    held = lm.get_model_info()[lm.RESULTS_KEY]
    return {name: held[name] for name in FACTS}


@pytest.mark.parametrize("trie", [True, False])
def test_the_results_tell_of_remembered_requests_as_of_scored_ones(
    write_checkpoint: Write, ask: Ask, trie: bool
) -> None:
    folder = write_checkpoint()
    plain = baichuan(folder, max_length=20, trie=trie)
    wanted = plain.loglikelihood(questions(), disable_tqdm=True)
    told = facts(plain)
    assert told["shortened_prompts"]["some_task"]["prompts"] == 6
    ask(baichuan(folder, max_length=20, trie=trie), questions(3))  # a run that was stopped after half of its questions
    for remembered in (12, 24):  # a run that goes on, and one whose answers are all there
        resumed = baichuan(folder, max_length=20, trie=trie)
        assert near(ask(resumed), wanted)
        assert facts(resumed) == told
        assert resumed.get_model_info()["baichuan"]["remembered_answers"] == remembered


def test_another_label_rule_of_a_task_is_scored_anew(write_checkpoint: Write, ask: Ask) -> None:
    lm = baichuan(write_checkpoint())
    before = ask(lm)
    wanted = lm.loglikelihood(questions(label_tokens="joint"), disable_tqdm=True)
    assert near(ask(lm, questions(label_tokens="joint")), wanted)
    assert not near(before, wanted)


def test_another_model_looks_up_as_lm_eval_does(write_checkpoint: Write, ask: Ask, tmp_path: Path) -> None:
    lm = baichuan(write_checkpoint())
    ask(lm)  # from here on lm-eval's class is ours in part

    class Other(SimpleNamespace):
        def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
            self.seen.append(len(requests))
            return [(-1.0, False)] * len(requests)

    other = Other(seen=[], set_cache_hook=lambda _: None)
    cached = CachingLM(other, str(tmp_path / "other.db"))
    assert cached.loglikelihood(questions(1)) == cached.loglikelihood(questions(1)) == [(-1.0, False)] * 4
    cached.loglikelihood(questions(2))
    cached.dbdict.close()
    assert other.seen == [4, 4]


def test_cached_requests_are_known_by_the_chat_form(write_checkpoint: Write) -> None:
    folder = write_checkpoint()
    lms = [baichuan(folder), baichuan(folder), baichuan(folder, system_text="drop"), baichuan(folder)]
    lms[3].tokenizer.chat_template = "{{ messages[0]['content'] }}"
    names = [lm.tokenizer_name for lm in lms]
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_the_demo_is_never_given_the_score_of_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)  # describes the machine, slowly
    folder = str(Path(tasks.__path__[0]) / "demo_5shot")
    manager = TaskManager(include_path=folder, include_defaults=False)

    def run(model: str = "demo", **options: Any) -> tuple[dict[str, float], dict[str, Any]]:
        arguments = {"pretrained": model, "dtype": "float32", **options}
        results: Any = simple_evaluate(
            model=baichuan(**arguments),
            tasks=["demo_5shot_nature", "demo_5shot_geography"],
            task_manager=manager,
            limit=4,
            use_cache=str(tmp_path / "answers"),
            bootstrap_iters=0,
        )
        told = results["config"]["baichuan"]
        scores = {name: values["acc,none"] for name, values in results["results"].items()}
        return scores, {name: told[name] for name in FACTS}

    first = run()
    assert run() == first
    for other in ({"model": "demo-alibi"}, {"dtype": "bfloat16"}, {"max_length": 120}):
        with pytest.raises(CacheError, match=WAYS_OUT):
            run(**other)
