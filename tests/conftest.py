"""Fixtures that several tests share: where the real data and the golden checkpoints are, if they are there."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest
from own_deprecations import pytest_runtest_call, pytest_runtest_setup  # noqa: F401  (hooks of pytest)

REPOSITORY = Path(__file__).resolve().parent.parent

# Before torch is imported: threads of several workers on the same cores wait for each other longer than they work.
if (workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a folder of caches of its own, which its processes share, and examples the time they take."""
    hypothesis.settings.register_profile("any machine", deadline=None)
    hypothesis.settings.load_profile("any machine")
    if not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="lm-eval-baichuan-tests-")
        os.environ["XDG_CACHE_HOME"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none, and the hub unless it is asked for."""
    if "network" not in config.getoption("markexpr"):
        for item in items:
            if item.get_closest_marker("network"):
                item.add_marker(pytest.mark.skip(reason="needs the Hugging Face hub: run it with -m network"))
    if not any(item.get_closest_marker("gpu") for item in items):
        return
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with ``data`` and ``golden``; tests of the real data are skipped where it is missing."""
    named = os.environ.get("LM_EVAL_BAICHUAN_SHARED")
    folder = Path(named) if named else REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is no folder (LM_EVAL_BAICHUAN_SHARED names another)")
    return folder.resolve()


@pytest.fixture(scope="session")
def data_dir(shared_dir: Path) -> Path:
    """The benchmarks' real questions, one folder a benchmark, and the Baichuan-7B tokenizer."""
    return shared_dir / "data"


@pytest.fixture(scope="session")
def golden_dir(shared_dir: Path) -> Path:
    """Tiny checkpoints, and what the official model code computed from them."""
    return shared_dir / "golden"


def train_tokenizer(folder: Path, *, dummy_prefix: bool) -> Path:
    """Trains a small sentencepiece model like Baichuan's: user-defined symbols, byte fallback, no normalisation."""
    import sentencepiece

    sentences = folder / "sentences.txt"
    sentences.write_text(
        "\n".join(
            [
                "以下是中国关于法学考试的单项选择题",
                "A. one B. two C. three D. four",
                "What is your name?",
                "答案：A B C D",
            ]
            * 9
        ),
        encoding="utf-8",
    )
    sentencepiece.SentencePieceTrainer.train(
        input=str(sentences),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=390,
        add_dummy_prefix=dummy_prefix,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["\n", "<br>", "0", "1", "。"],
        minloglevel=2,
    )
    return folder / "tokenizer.model"


@pytest.fixture(scope="session")
def small_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sentencepiece model with a dummy prefix, as Baichuan 1 has it."""
    return train_tokenizer(tmp_path_factory.mktemp("with_prefix"), dummy_prefix=True)


@pytest.fixture(scope="session")
def small_tokenizer_without_prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without a dummy prefix, as Baichuan 2 has it."""
    return train_tokenizer(tmp_path_factory.mktemp("without_prefix"), dummy_prefix=False)
