"""Shares the questions between the processes of one launch, on any device.

lm-eval's ``hf`` model does so only where it sees several GPUs, and accelerate joins CPU processes to a group only when
it is told that they are CPU processes. Otherwise every process asks all questions, and writes results of its own.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import torch

from ..baichuan import BaichuanConfig
from ..errors import CheckpointError
from ..hosts.accelerate import FORCE_CPU
from ..hosts.transformers import tensor_parallel_size

logger = logging.getLogger(__name__)


def join_cpu_processes() -> None:
    """Lets accelerate form a group of the processes that torchrun or ``accelerate launch`` started without a GPU."""
    if torch.accelerator.is_available():
        return
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        os.environ[FORCE_CPU] = "true"
    elif "MASTER_ADDR" in os.environ and os.environ.get(FORCE_CPU, "").lower() == "true":
        # What `accelerate launch --cpu --num_processes N` leaves in the environment of the one process it starts.
        logger.warning(
            "accelerate launch --cpu starts one process, whatever --num_processes says. For several processes without "
            "a GPU use: torchrun --nproc_per_node N -m lm_eval ... or accelerate launch --multi_gpu --num_processes N"
        )


def rank_and_world_size(lm: Any) -> tuple[int, int]:
    """This process's number and the number of processes that share the questions.

    Args:
        lm: A loaded `HFLM`.
    """
    accelerator = getattr(lm, "accelerator", None)
    if accelerator is None or lm.world_size > 1:
        return lm.rank, lm.world_size
    return accelerator.process_index, accelerator.num_processes


def check_tensor_parallel(config: Any, peft: str | None, options: dict[str, Any]) -> None:
    """Refuses combinations of ``tp_plan`` that would give wrong scores or none.

    Args:
        config: The model's configuration.
        peft: The adapter asked for, if any.
        options: The options of `HFLM._create_model`.

    Raises:
        CheckpointError: The combination is not supported; the message says what is instead.
    """
    if peft and options.get("delta"):
        raise CheckpointError("peft and delta are both given. An adapter goes on a checkpoint, not on delta weights.")
    if options.get("tp_plan") is None:
        return
    if isinstance(config, BaichuanConfig) and config.base_model_tp_plan is None:
        raise CheckpointError(
            "tp_plan: the installed torch was built without torch.distributed, which splits layers over devices. "
            "Install one that has it, or use parallelize=True, which puts whole blocks on each device."
        )
    if peft:
        raise CheckpointError("tp_plan does not split an adapter. Merge it into the weights, or use parallelize=True.")


def agree_on_budget(scorer: Any, model: Any) -> None:
    """Under tensor parallelism all devices run the same rows: the smallest of their token budgets.

    Args:
        scorer: A `TrieScorer`, or None.
        model: The model it runs.
    """
    if scorer is None or tensor_parallel_size(model) == 1:
        return
    budget = torch.tensor(scorer.token_budget, device=model.device)
    torch.distributed.all_reduce(budget, op=torch.distributed.ReduceOp.MIN)
    scorer.token_budget = int(budget)
