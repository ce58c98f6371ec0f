"""Names of ftllm (fastllm's Python package): functions of its native library, which no documentation names.

Nothing of it is imported until an `Engine` is made, and that happens in a process of its own alone
(`engines.fastllm_worker`): what goes wrong in the native library ends its process, with status 0.
"""

import ctypes
import importlib
import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import Lean

DISTRIBUTION = "ftllm"
RUN = "1.9"
"""The release that the tests were run with; its native functions may be others in any other one."""
_ENDED = -1
_UNUSED_GROUPS = 128


def installed_version() -> str | None:
    """The version that is installed; None where there is none."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None


class Engine:
    """A model in ftllm, on the CPU, that is given token ids and gives logits.

    Args:
        folder: A checkpoint in Llama's form.
        dtype: ``float32`` or ``float16``.
        vocabulary: How many logits the model has.
        threads: Of the CPU; None for ftllm's own number.
    """

    def __init__(self, folder: str, dtype: str, vocabulary: int, threads: int | None) -> None:
        """Loads the model; where that fails, this process ends."""
        ftllm: Any = importlib.import_module("ftllm.llm")
        self._library = ftllm.fastllm_lib
        ftllm.set_device_map("cpu")
        if threads is not None:
            ftllm.set_cpu_threads(threads)
        code = ftllm.fastllm_data_type_dict[dtype]
        no_tokenizer = True  # token ids are what it is given
        self._model = self._library.create_llm_model_fromhf(
            folder.encode(), code, _UNUSED_GROUPS, no_tokenizer, b"", False, code, _UNUSED_GROUPS, b""
        )
        self._library.set_save_history(self._model, True)  # what prompts share is computed once
        # Beyond the logits there is room, as ftllm's own code leaves it.
        self._logits = np.empty(4 * vocabulary, dtype=np.float32)
        self._vocabulary = vocabulary

    def launch(self, prompt: Sequence[int], tokens: int) -> int:
        """Begins to generate so many tokens greedily after a prompt; returns what `fetch` takes."""
        ids = (ctypes.c_int * len(prompt))(*prompt)
        sample, top_p, top_k, temperature, penalty, logits = False, 1.0, 1, 1.0, 1.0, True
        handle: int = self._library.launch_response_llm_model(
            self._model, len(prompt), ids, tokens, 0, sample, top_p, top_k, temperature, penalty, logits, 0, None
        )
        return handle

    def fetch(self, handle: int) -> NDArray[np.float32] | None:
        """Logits of the next step, `[vocabulary]`, NaN where ftllm gave none; None where generation has ended."""
        self._logits.fill(np.nan)
        place = self._logits.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        token = self._library.fetch_response_logits_llm_model(self._model, handle, place)
        return None if token <= _ENDED else self._logits[: self._vocabulary]

    def abort(self, handle: int) -> None:
        """Ends a generation whose further tokens nobody needs."""
        self._library.abort_response_llm_model(self._model, handle)


LEANS = tuple(
    Lean(f"ftllm.llm:fastllm_lib.{name}", "engines.fastllm_worker loads, asks and reads by it")
    for name in (
        "abort_response_llm_model",
        "create_llm_model_fromhf",
        "fetch_response_logits_llm_model",
        "launch_response_llm_model",
        "set_save_history",
    )
) + tuple(
    Lean(f"ftllm.llm:{name}", "engines.fastllm_worker says by it how to compute")
    for name in ("fastllm_data_type_dict", "set_cpu_threads", "set_device_map")
)
