"""Names of accelerate that are not documented."""

from accelerate.utils.memory import should_reduce_batch_size  # type: ignore[import-untyped]

from . import Lean

__all__ = ["FORCE_CPU", "LEANS", "should_reduce_batch_size"]

FORCE_CPU = "ACCELERATE_USE_CPU"
"""The environment variable by which accelerate forms a group of processes without a GPU."""

LEANS = (
    Lean(
        "accelerate.utils.memory:should_reduce_batch_size",
        "trie_scorer.budget asks it whether an error is an out-of-memory of any device",
        ("exception",),
    ),
    Lean("accelerate.state:PartialState.process_index", "lm.processes shares the questions by it"),
    Lean("accelerate.state:PartialState.num_processes", "lm.processes shares the questions by it"),
)
