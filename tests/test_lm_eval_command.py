"""Known mistakes, Ctrl-C and SIGTERM are one line and a status under lm-eval's own command; the rest is as it was."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from lm_eval.__main__ import cli_evaluate
from lm_eval.api.model import CachingLM
from lm_eval.config.evaluate_config import EvaluatorConfig
from lm_eval.tasks import _index
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import LlamaConfig, PreTrainedTokenizerFast

import lm_eval_baichuan.tasks
from lm_eval_baichuan import lm_eval_command
from lm_eval_baichuan.before_the_run import BeforeTheRun
from lm_eval_baichuan.model_adapters.errors import CheckpointError
from lm_eval_baichuan.model_adapters.lm.cache_fingerprint import KEY

TASKS = Path(next(iter(lm_eval_baichuan.tasks.__path__)))
FOLDER_VARIABLE = "LM_EVAL_BAICHUAN_DATA"


class Done(NamedTuple):
    status: Any
    out: str
    err: str

    @property
    def line(self) -> str:
        """What the command says of the mistake: its one line."""
        (line,) = [each for each in self.err.splitlines() if each.startswith("lm_eval: ")]
        assert "Traceback" not in self.err
        return line.removeprefix("lm_eval: ")


Command = Callable[..., Done]


class Loaded(Exception):
    """Nothing was found wrong: a model would be loaded now."""


def load(*_: Any, **__: Any) -> None:
    raise Loaded


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The stock command in this process, with the tasks of this package alone, up to where a model is loaded."""
    build = _index.TaskIndex.build.__wrapped__
    monkeypatch.setattr(_index.TaskIndex, "build", staticmethod(lambda paths, **options: build([TASKS], **options)))
    monkeypatch.setattr("lm_eval.models.huggingface.HFLM._create_model", load)
    monkeypatch.setattr("lm_eval.__main__.setup_logging", lambda: None)  # its handler would keep this test's stderr
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("LMEVAL_LOG_LEVEL", raising=False)
    monkeypatch.setenv("RANK", "0")

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["lm_eval", *arguments])
        status = None
        try:
            cli_evaluate()
        except SystemExit as stop:
            status = stop.code
        return Done(status, *capsys.readouterr())

    return run


def asking(
    model: str = "baichuan", model_args: str = "pretrained=demo", tasks: str = "demo_5shot", **arguments: str
) -> list[str]:
    """A command line."""
    given = ["--model", model, "--model_args", model_args, "--tasks", tasks]
    return given + [part for name, value in arguments.items() for part in (f"--{name}", value)]


# ---------------------------------------------------------------------------------------------------- model arguments

MISTAKES = {
    "prtrained=x": "--model_args: there is no option prtrained. Did you mean pretrained?",
    "pretrained=demo,lable_tokens=joint": "--model_args: there is no option lable_tokens. Did you mean label_tokens?",
    "pretrained=demo,torch_dtype=float16": "--model_args: torch_dtype is called dtype here.",
    "pretrained=demo,dtype=fp8": (
        "dtype is 'fp8'; expected auto, float32 (or fp32, float), bfloat16 (bf16), float16 (fp16, half) or float64 "
        "(double)."
    ),
    "pretrained=demo,softmax_dtype=long": "softmax_dtype is 'long'; expected auto, float32",
    "pretrained=demo,max_length=0": "max_length is 0; expected a whole number above 0.",
    "pretrained=demo,token_budget=many": "token_budget is 'many'; expected a whole number above 0 or auto.",
    "pretrained=demo,attention=foo": "attention is 'foo'; expected one of auto, blockwise, dense, flex.",
    "pretrained=demo,device=cpu": "--model_args: device is an option of its own: --device cpu",
    "pretrained=/nowhere/to/be/found": "/nowhere/to/be/found: no such folder.",
}


@pytest.mark.parametrize("model", ["baichuan", "hf-trie"])
@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_in_the_model_arguments(command: Command, model: str, arguments: str) -> None:
    done = command(*asking(model, arguments))
    assert (done.status, done.line.startswith(f"error: {MISTAKES[arguments]}")) == (2, True), done.line


def test_a_batch_size_that_is_none(command: Command) -> None:
    done = command(*asking(batch_size="big"))
    assert (done.status, done.line) == (2, "error: batch_size is 'big'; expected a whole number above 0 or auto.")


@pytest.mark.parametrize("model", ["baichuan", "hf"])
@pytest.mark.parametrize("limit", ["0", "-1", "nan"])
def test_a_limit_that_leaves_no_question(command: Command, model: str, limit: str) -> None:
    done = command(*asking(model, limit=limit))
    assert (done.status, done.line.startswith(f"error: --limit {limit}: asks no questions.")) == (2, True)


def test_fewer_questions_than_processes(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    # No process group is looked for, which is not there, and what was left of it would stay for the tests after this.
    monkeypatch.setattr("lm_eval_baichuan.model_adapters.lm.trie_lm.join_cpu_processes", load)
    done = command(*asking(tasks="demo_5shot_nature", limit="1"))
    assert (done.status, "1 of 60 questions for 2 processes, so some would have none" in done.line) == (2, True)
    with pytest.raises(Loaded):
        command(*asking(tasks="demo_5shot_nature", limit="2"))


def test_a_name_that_nobody_knows(command: Command, base_model: str) -> None:
    done = command(*asking("baichuan", "pretrained=demo,frobnicate=1"))
    assert (done.status, done.line) == (2, "error: --model_args: there is no option frobnicate. Leave it out.")
    done = command(*asking("hf-trie", f"pretrained={base_model},frobnicate=1"))
    assert (done.status, done.line) == (2, "error: --model_args: there is no option frobnicate. Leave it out.")


def test_hf_trie_needs_a_checkpoint(command: Command) -> None:
    done = command(*asking("hf-trie", "dtype=float32"))
    assert (done.status, done.line) == (
        2,
        "error: --model_args: pretrained is missing. Pass pretrained=FOLDER or a hub repository.",
    )


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7", "gpu"])
def test_a_device_that_is_not_here(command: Command, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr("lm_eval_baichuan.model_adapters.lm.model_args.devices_here", lambda: ["cpu"])
    done = command(*asking(device=device))
    assert (done.status, done.line) == (2, f"error: device is {device!r}, which is not here. Here are: cpu.")


def test_the_chat_form_of_a_base_model(command: Command, base_model: str) -> None:
    for model, pretrained in (("baichuan", "demo"), ("hf-trie", base_model)):
        done = command(*asking(model, f"pretrained={pretrained}"), "--apply_chat_template")
        assert (done.status, "states no chat form, as base models don't. Leave the option out" in done.line) == (
            2,
            True,
        )


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the configuration and the tokenizer of a Llama without a chat form, and no weights."""
    folder = str(tmp_path_factory.mktemp("base_model"))
    LlamaConfig(vocab_size=300, hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE())).save_pretrained(folder)
    return folder


def test_widths_that_cannot_be_packed_in_four_bits(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bitsandbytes")
    packs = True
    monkeypatch.setattr("lm_eval_baichuan.model_adapters.baichuan.quantized.packs_for_cpu", lambda: packs)
    line = asking(model_args="pretrained=demo,load_in_4bit=true", device="cpu")
    done = command(*line)
    assert (done.status, done.line) == (
        2,
        "error: load_in_4bit=true: on this CPU bitsandbytes packs weights in whole blocks of 64 inputs, and "
        "intermediate_size 352 is no multiple of 64. Use load_in_8bit=true or torchao=int8.",
    )
    packs = False
    with pytest.raises(Loaded):
        command(*line)


# ------------------------------------------------------------------------------------------------------------- tasks


@pytest.mark.parametrize("model", ["baichuan", "dummy"])
def test_data_that_is_not_there_is_missed_before_the_model_is_loaded(
    command: Command, tmp_path: Path, model: str
) -> None:
    done = command(*asking(model, tasks="ceval_5shot_val_law,demo_5shot", metadata=f"data_dir={tmp_path}"))
    file = tmp_path / "ceval" / "dev" / "law_dev.csv"
    assert (done.status, done.line) == (
        2,
        f"error: {file} does not exist. Fill the folder (lm-eval-baichuan data fetch {tmp_path}), name another "
        f"(--metadata data_dir=PATH, or the environment variable {FOLDER_VARIABLE}), or name none: then the data comes "
        "from its public home.",
    )


def test_a_data_folder_that_is_none(command: Command) -> None:
    done = command(*asking(tasks="ceval_5shot_val_law", metadata="data_dir=/nowhere"))
    assert (done.status, "lm-eval-baichuan data fetch /nowhere" in done.line) == (2, True)


def test_a_mistake_in_the_data(command: Command, tmp_path: Path) -> None:
    for part in ("dev", "val"):
        file = tmp_path / "ceval" / part / f"law_{part}.csv"
        file.parent.mkdir(parents=True)
        file.write_text("id,question,A,B,C,D,answer\n0,q,a,b,c,d,E\n", "utf-8")
    done = command(*asking(tasks="ceval_5shot_val_law", metadata=f"data_dir={tmp_path}"))
    assert (done.status, "column 'answer': found 'E', expected A, B, C or D" in done.line) == (2, True)


def test_more_shots_than_there_are(command: Command) -> None:
    done = command(*asking(num_fewshot="7"))
    assert (done.status, done.line) == (
        2,
        "error: --num_fewshot 7: the questions of demo_5shot have 5 shots. Ask for fewer.",
    )


def test_other_shots_are_warned_of(command: Command, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Loaded):
        command(*asking(num_fewshot="3"))
    assert (
        "--num_fewshot 3: the protocol of demo_5shot is 5-shot, so its score does not compare with the published one. "
        "The results record it." in caplog.messages
    )


# ---------------------------------------------------------------------------------------- errors, Ctrl-C and SIGTERM


def arguments(**given: Any) -> Namespace:
    return Namespace(**{"model": "baichuan", "device": None, "verbosity": None, **given})


def ending(error: BaseException | None) -> Callable[[Any], None]:
    """A command that ends so."""

    def command(_: Any) -> None:
        if error is not None:
            raise error

    return command


def stopped(command: Callable[[Any], None], **given: Any) -> Any:
    with pytest.raises(SystemExit) as stop:
        lm_eval_command.run(command, arguments(**given))
    return stop.value.code


def test_an_error_of_ours_is_one_line_whatever_its_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(ending(CheckpointError("config.json: not there.\nGet it."))) == 2
    assert capsys.readouterr().err == "lm_eval: error: config.json: not there. Get it.\n"


def test_with_debug_the_traceback_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for given, variable in (({"verbosity": "DEBUG"}, ""), ({}, "DEBUG")):
        monkeypatch.setenv("LMEVAL_LOG_LEVEL", variable)
        assert stopped(ending(CheckpointError("not there")), **given) == 2
        error = capsys.readouterr().err
        assert error.startswith("Traceback") and error.endswith("\nlm_eval: error: not there\n")


def test_another_process_says_which_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    assert stopped(ending(CheckpointError("not there"))) == 2
    assert capsys.readouterr().err == "lm_eval: error (process 3): not there\n"


@pytest.mark.parametrize("error", [ZeroDivisionError(), ValueError("lm-eval's own"), FileNotFoundError("a file")])
def test_other_errors_stay(error: Exception) -> None:
    with pytest.raises(type(error)):
        lm_eval_command.run(ending(error), arguments())


def test_only_what_our_tasks_raise_is_theirs() -> None:
    utils = importlib.import_module("lm_eval_baichuan.tasks.demo_5shot.utils")
    with pytest.raises(ValueError, match="no task draws by it") as raised:
        utils.check_seeds(other_seed=1)
    assert lm_eval_command.is_ours(raised.value)
    with pytest.raises(KeyError) as mistake:  # in a file of our tasks, but nothing that it raises
        utils.check_questions([{}], (), own_data=False)
    assert not lm_eval_command.is_ours(mistake.value)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A command that was stopped hears no further signals; the tests go on in its process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_ctrl_c(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert stopped(ending(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == (
        "lm_eval: stopped by Ctrl-C. No answers are kept: with --use_cache PATH they would be, and the same command "
        "would go on from there.\n"
    )
    monkeypatch.setenv("RANK", "1")
    assert stopped(ending(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == ""


def sigterm(_: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert stopped(sigterm) == 143
    assert capsys.readouterr().err.startswith("lm_eval: stopped by SIGTERM. No answers are kept")
    os.kill(os.getpid(), signal.SIGTERM)  # torchrun's second one
    os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    monkeypatch.setenv("RANK", "1")
    assert stopped(sigterm) == 143
    assert capsys.readouterr().err == ""


def test_a_run_without_us_is_left_alone() -> None:
    with pytest.raises(KeyboardInterrupt):
        lm_eval_command.run(ending(KeyboardInterrupt()), arguments(model="hf"))


def test_a_handler_of_others_for_sigterm_stays() -> None:
    signal.signal(signal.SIGTERM, lambda *_: None)
    lm_eval_command.run(sigterm, arguments())


def test_what_is_kept_counts_answers_of_all_processes(tmp_path: Path) -> None:
    path = tmp_path / "answers[1]"
    for rank, number in enumerate((3, 4)):
        lm = SimpleNamespace(set_cache_hook=lambda hook: None)
        with CachingLM(lm, f"{path}_rank{rank}.db").dbdict as answers:
            answers[KEY] = "{}"
            answers.update({str(i): (0.0, False) for i in range(number)})
    assert lm_eval_command.what_is_kept(str(path)) == (
        f"7 answers are kept in {path}_rank0.db, {path}_rank1.db; the same command goes on from there."
    )


# ------------------------------------------------------------------------------------------------------ what is shown


def test_the_true_device_is_named_where_lm_eval_names_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    here = ["cpu"]
    monkeypatch.setattr("lm_eval_baichuan.model_adapters.lm.model_args.devices_here", lambda: here)
    for devices, expected in ((["cpu"], "cpu"), (["cpu", "cuda", "cuda:0"], "cuda:0")):
        here[:] = devices
        settings = EvaluatorConfig(model="baichuan", model_args={"pretrained": "demo"})
        BeforeTheRun(arguments()).check_model(settings)
        assert settings.device == expected


def test_the_demo_says_what_it_means_only_when_run_as_it_is_meant() -> None:
    before = BeforeTheRun(arguments())
    plain = {"model": "baichuan", "model_args": {"pretrained": "demo"}, "metadata": {"pretrained": "demo"}}
    for further, said in (
        ({}, True),
        ({"tasks": ["demo_5shot_nature"]}, False),
        ({"num_fewshot": 3}, False),
        ({"metadata": {"pretrained": "demo", "shots_seed": 1}}, False),
        ({"model": "hf-trie"}, False),
        ({"metadata": {"pretrained": "other"}, "model_args": {"pretrained": "other"}}, False),
    ):
        before._settings = EvaluatorConfig(**{**plain, "tasks": ["demo_5shot"], **further})
        assert bool(before.meaning_of_the_demo()) is said, further
