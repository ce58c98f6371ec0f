"""Nothing from outside runs, hangs or commands: the places where a stranger's text comes in, and what it might hold.

Each table names places. Whatever stands there, the load or the comparison ends in an error of ours or goes on as if it
were text; the mark that a payload would set is never there afterwards.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from results_builder import write_results, write_samples
from safetensors.torch import load_file, save_file

from lm_eval_baichuan import cli
from lm_eval_baichuan.model_adapters.baichuan import BaichuanConfig, BaichuanForCausalLM, peft_adapter
from lm_eval_baichuan.model_adapters.errors import CheckpointError, EvaluationError, RequestError, TokenizerError
from lm_eval_baichuan.model_adapters.lm.baichuan_lm import BaichuanLM
from lm_eval_baichuan.model_adapters.outside import limits

SECONDS = 30


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Path) -> Path:
    """A checkpoint and an adapter for it, whole."""
    import peft

    folder = tmp_path_factory.mktemp("whole")
    torch.manual_seed(5)
    sizes = {"vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads: dict[str, Any] = {"num_attention_heads": 4, "norm_head": False, "max_position_embeddings": 512}
    model = BaichuanForCausalLM(BaichuanConfig(**sizes, **heads))
    model.save_pretrained(folder / "model")
    shutil.copy(small_tokenizer, folder / "model" / "tokenizer.model")
    write(folder / "model" / "tokenizer_config.json", {"tokenizer_class": "BaichuanTokenizer"})
    adapter = peft.LoraConfig(r=2, target_modules=["W_pack"], task_type="CAUSAL_LM")
    peft.get_peft_model(model, adapter).save_pretrained(folder / "adapter", save_embedding_layers=False)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to put payloads into."""
    return Path(shutil.copytree(whole, tmp_path / "checkpoint"))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What a payload would make if it ran."""
    return tmp_path / "ran"


def write(file: Path, content: Any) -> None:
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def change(file: Path, **values: Any) -> None:
    write(file, {**(json.loads(file.read_text()) if file.exists() else {}), **values})


def score(folder: Path, **options: Any) -> list[tuple[float, bool]]:
    lm = BaichuanLM(str(folder / "model"), device="cpu", dtype="float32", self_check=False, **options)
    return lm.loglikelihood([Instance("loglikelihood", {}, ("答案：", "A"), 0, ("task", 0, 1))], disable_tqdm=True)


def ends(call: Callable[[], Any]) -> EvaluationError | None:
    """Run something: within the time, and to no other end than an error of ours."""
    begun = time.monotonic()
    try:
        call()
    except EvaluationError as error:
        return error
    finally:
        assert time.monotonic() - begun < SECONDS
    return None


PYTHON = "open({mark!r}, 'w').close()\n"
PAYLOADS = (
    "{{{{ cycler.__init__.__globals__.os.system('touch {mark}') }}}}",
    "__import__('os').system('touch {mark}')",
    "$(touch {mark}); `touch {mark}`",
    "!!python/object/apply:os.system ['touch {mark}']",
)
CODE_FILES = ("modeling_x.py", "configuration_x.py", "tokenization_x.py", "setup.py", "__init__.py", "conftest.py")
FIELDS = {
    "config.json": (
        "architectures", "model_type", "auto_map", "torch_dtype", "dtype", "transformers_version", "_name_or_path",
        "custom_pipelines", "attn_implementation", "_attn_implementation", "hidden_act", "quantization_config",
        "rope_scaling", "transformers_weights", "configuration_files", "tokenizer_class", "processor_class", "id2label",
        "kernel_config", "base_model_tp_plan", "experts_implementation",
    ),
    "generation_config.json": ("cache_implementation", "custom_generate", "compile_config", "trust_remote_code"),
    "tokenizer_config.json": (
        "auto_map", "tokenizer_class", "sp_model_kwargs", "vocab_file", "chat_template", "processor_class",
        "tokenizer_file", "extra_special_tokens",
    ),
    "special_tokens_map.json": ("bos_token", "additional_special_tokens"),
    "chat_template.json": ("chat_template",),
}  # fmt: skip
ADAPTER_FIELDS = (
    "auto_mapping", "base_model_name_or_path", "revision", "task_type", "peft_type", "target_modules",
    "exclude_modules", "modules_to_save", "layers_pattern", "rank_pattern", "alpha_pattern", "megatron_core",
    "init_lora_weights", "loftq_config", "eva_config", "corda_config", "runtime_config", "bias",
    "parent_library", "layer_replication",
)  # fmt: skip


few_and_all = pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["few", "all"])


@few_and_all
@pytest.mark.parametrize(("file", "field"), [(file, field) for file, fields in FIELDS.items() for field in fields])
def test_no_field_of_a_checkpoint_runs(file: str, field: str, every: bool, folder: Path, mark: Path) -> None:
    for name in CODE_FILES:
        write(folder / "model" / name, PYTHON.format(mark=str(mark)))
    whole = (folder / "model" / file).read_text() if (folder / "model" / file).exists() else "{}"
    reference = {"AutoConfig": "modeling_x.X", "AutoModelForCausalLM": "modeling_x.X", "AutoTokenizer": "modeling_x.X"}
    texts = [payload.format(mark=mark) for payload in PAYLOADS]
    values = [reference, *texts, "modeling_x", "modeling_x.X", {"class": "modeling_x.X", "name": texts[0]}]
    first = texts[:1] if field == "chat_template" else values[:1]
    for value in values if every else first:
        write(folder / "model" / file, whole)
        change(folder / "model" / file, **{field: value})
        ends(lambda: score(folder, trust_remote_code=True))
        assert not mark.exists()


@few_and_all
@pytest.mark.parametrize("field", ADAPTER_FIELDS)
def test_no_field_of_an_adapter_runs(
    field: str, every: bool, folder: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(folder)  # where a module that a file names would be found
    write(folder / "evil.py", PYTHON.format(mark=str(mark)))
    file = folder / "adapter" / "adapter_config.json"
    whole = file.read_text()
    texts = [payload.format(mark=mark) for payload in PAYLOADS]
    values = ["evil", {"parent_library": "evil", "base_model_class": "X"}, *texts, "evil.X", {"evil": "evil"}]
    for value in values if every else values[:2]:
        write(file, whole)
        change(file, **{field: value})
        if field == "megatron_core":
            change(file, megatron_config={"tensor_model_parallel_size": 1})
        ends(lambda: score(folder, peft=str(folder / "adapter")))
        assert not mark.exists()


class Runs:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


PICKLES = ("model/pytorch_model.bin", "model/model.safetensors", "model/training_args.bin", "adapter/adapter_model.bin")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("place", PICKLES)
@pytest.mark.parametrize("form", ["zip", "old", "bare"])
def test_no_pickle_runs(place: str, form: str, folder: Path, mark: Path) -> None:
    for weights in (folder / place).parent.glob("*.safetensors"):
        if "training_args" not in place:
            weights.unlink()
    if form == "bare":
        (folder / place).write_bytes(pickle.dumps(Runs(mark)))
    else:
        torch.save({"x": Runs(mark)}, folder / place, _use_new_zipfile_serialization=form == "zip")
    error = ends(lambda: score(folder, peft=str(folder / "adapter")))
    assert (error is None) == ("training_args" in place)
    assert not mark.exists()


def test_an_index_that_leads_out_of_the_folder_is_refused(folder: Path) -> None:
    state = load_file(folder / "model" / "model.safetensors")
    (folder / "model" / "model.safetensors").unlink()
    save_file(state, folder / "outside.safetensors", metadata={"format": "pt"})
    for shard in ("../outside.safetensors", str(folder / "outside.safetensors"), "a/../../outside.safetensors", ".."):
        index = {"metadata": {}, "weight_map": dict.fromkeys(state, shard)}
        write(folder / "model" / "model.safetensors.index.json", index)
        with pytest.raises(CheckpointError, match="expected the name of a file in this folder"):
            score(folder)


PIPES = (
    "config.json", "generation_config.json", "modeling_x.py", "tokenizer.model", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "tokenizer.json", "chat_template.jinja", "chat_template.json",
    "additional_chat_templates/x.jinja", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
    "quantize_config.json", "adapter_config.json",
)  # fmt: skip


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_in_a_files_place_does_not_hang(name: str, folder: Path) -> None:
    place = folder / "model" / name
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    # Where the file is one of those that may be missing, a pipe counts as none.
    error = ends(lambda: score(folder))
    assert error is None or place.name in str(error) or str(folder) in str(error)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_pipe_in_an_adapter_does_not_hang(name: str, folder: Path) -> None:
    (folder / "adapter" / name).unlink()
    os.mkfifo(folder / "adapter" / name)
    assert ends(lambda: score(folder, peft=str(folder / "adapter")))


def test_a_file_as_large_as_the_memory_is_not_read(folder: Path) -> None:
    with (folder / "model" / "chat_template.jinja").open("wb") as file:
        file.truncate(10**10)
    with pytest.raises(TokenizerError, match=r"chat_template\.jinja: cannot be read .*10000000000 bytes"):
        score(folder)


TEMPLATES = {
    "loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "product": "{{ 'a' * 10**10 }}",
    "power": "{{ (10**8) ** (10**8) }}",
    "padding": "{{ 'a'.ljust(10**10) }}{{ 'a'|center(10**10) }}",
    "doubling": "{% set n = namespace(s='aa') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "depth": "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "list": "{{ [1] * 10**10 }}",
    "length": "{{ 'a' * 10**8 }}",
    "division": "{{ 1 / 0 }}",
    "attribute": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_template_that_never_ends_is_stopped(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 1.0)
    write(folder / "model" / "chat_template.jinja", TEMPLATES[name])
    lm = BaichuanLM(str(folder / "model"), device="cpu", dtype="float32", self_check=False)
    error = ends(lambda: lm.apply_chat_template([{"role": "user", "content": "question"}]))
    assert isinstance(error, RequestError)
    assert "--apply_chat_template" in str(error)


@pytest.mark.parametrize("field", ["target_modules", "exclude_modules", "layers_pattern", "rank_pattern"])
def test_an_adapters_pattern_that_never_ends_is_stopped(
    field: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peft_adapter, "PATTERN_SECONDS", 0.5)
    value: Any = "(([a-z._0-9])+)+X"
    change(folder / "adapter" / "adapter_config.json", **{field: {value: 4} if field == "rank_pattern" else value})
    with pytest.raises(CheckpointError, match=r"adapter_config\.json: .*regular expression .*longer than"):
        score(folder, peft=str(folder / "adapter"))


LAW = "ceval_5shot_law"
# A model is called by what stands after the last slash of either kind, so those with slashes come first.
TEXTS = (
    "\\input{x}",
    '</script><script>alert("x")</script>', '=HYPERLINK("http://x","y")', "+cmd|' /C calc'!A0",
    "<img src=x onerror=alert(1)>", "$x^$", "\x1b[2J\x1b]0;owned\x07", "\x9b31m", "@SUM(1)", "-1+1", "\u202eabc",
    "half \ud83d", "{{ 1%0 }}", "%s%n", "a|b\nc", "javascript:alert(1)",
)  # fmt: skip
PLACES = (
    ("config", "model_args", "pretrained"), ("config", "model_args", "dtype"), ("config", "model_dtype"),
    ("config", "baichuan", "quantization"), ("config", "baichuan", "verified"), ("config", "baichuan", "scorer"),
    ("config", "model"), ("lm_eval_version",), ("chat_template",), ("system_instruction",),
    ("configs", LAW, "test_split"), ("configs", LAW, "dataset_kwargs", "name"), ("configs", LAW, "description"),
    ("configs", "foreign {}"), ("model_source",),
)  # fmt: skip
few_and_all_places = pytest.mark.parametrize(
    ("places", "texts"),
    [
        pytest.param(PLACES, ("".join(TEXTS), "/=1+" + "".join(TEXTS[4:])), id="everywhere"),
        *(pytest.param((place,), TEXTS, id=".".join(place), marks=pytest.mark.slow) for place in PLACES),
    ],
)
Run = Callable[..., Path]


def put(data: dict[str, Any], place: tuple[str, ...], text: str) -> None:
    for key in place[:-1]:
        data = data.setdefault(key, {})
    if "{}" in place[-1]:
        data[place[-1].format(text)] = {}
    else:
        data[place[-1]] = text


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Writes results with a text in some places, and samples with a question of that text."""

    def make(places: tuple[tuple[str, ...], ...], text: str, name: str = "run") -> Path:
        folder = tmp_path / name
        file = write_results(folder, {LAW: (2, 4)})
        data = json.loads(file.read_text(encoding="utf-8"))
        for place in places:
            put(data, place, text)
        write(file, json.dumps(data))
        write_samples(folder, {LAW: (2, 4)}, texts=["first", "second", "third", "fourth"], seed=len(name))
        (samples,) = folder.glob("samples_*")
        samples.write_text(
            samples.read_text(encoding="utf-8").replace('"first', json.dumps(text)[:-1]), encoding="utf-8"
        )
        return folder

    return make


COMMANDS = [chr(code) for code in (*range(9), 11, 12, *range(14, 32), *range(127, 160), 0x202E)]


@few_and_all_places
def test_no_text_of_results_commands_a_terminal_or_a_spreadsheet(
    places: tuple[tuple[str, ...], ...],
    texts: tuple[str, ...],
    run: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for text in texts:
        paths = [str(run(places, text)), str(run((), text, "second"))]
        for form in ("table", "markdown", "latex", "csv", "json"):
            status = cli.main(["compare", *paths, "--format", form, "--against", "Baichuan-7B"])
            shown = "".join(capsys.readouterr())
            assert status == 0, shown
            shown.encode("utf-8")
            assert not [code for code in COMMANDS if code in shown]
            if form == "csv" and status == 0:
                cells = [cell for row in csv.reader(io.StringIO(shown)) for cell in row]
                formulas = [cell for cell in cells if cell.lstrip()[:1] in tuple("=+-@") and not number(cell)]
                assert formulas == []


def number(cell: str) -> bool:
    return not cell.strip("+-.0123456789e")


@few_and_all_places
def test_no_text_of_results_becomes_part_of_the_page(
    places: tuple[tuple[str, ...], ...], texts: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    for text in texts:
        assert cli.main(["report", str(run(places, text)), "-o", str(page)]) == 0
        shown = page.read_text(encoding="utf-8", errors="surrogatepass")
        assert "<img src=x" not in shown
        assert "<script>alert" not in shown
        assert shown.count("</script>") == 3
        page.unlink()
