"""Write a Baichuan checkpoint in the form of another model family, for engines that do not know Baichuan.

    lm-eval-baichuan export baichuan-inc/Baichuan2-7B-Base baichuan2-7b-llama --to llama

A Baichuan with rotary positions (Baichuan-7B, Baichuan2-7B and their fine-tunes) becomes a standard Llama checkpoint
with its tokenizer: weights in safetensors shards, NormHead folded into the head, tokenizer.json with the same ids as
sentencepiece. The 13B models have ALiBi positions, which a Llama cannot compute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

CHECKS = ("all", "tensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lm-eval-baichuan export``."""
    parser.add_argument("source", metavar="SRC", help="folder in Baichuan's layout, hub repository, or demo")
    parser.add_argument("destination", metavar="DST", type=Path, help="folder to write; it must not exist")
    parser.add_argument("--to", choices=["llama"], default="llama", help="form to write (default: %(default)s)")
    parser.add_argument(
        "--norm-head",
        choices=["true", "false"],
        help="whether the head is a NormHead, for a fine-tune whose checkpoint does not say",
    )
    parser.add_argument(
        "--check",
        choices=CHECKS,
        default="all",
        help="after writing, compare tensors, token ids and logits; 'tensors' leaves out the logits, for a machine "
        "that cannot hold the model in memory (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Export, check what was written, and say what was checked."""
    from .model_adapters.baichuan.checkpoint import local_checkpoint
    from .model_adapters.demo import demo_folder
    from .model_adapters.llama_export import check, write

    source, destination = Path(demo_folder(args.source) or local_checkpoint(args.source)), args.destination
    config = write.llama_ready_config(source, norm_head=None if args.norm_head is None else args.norm_head == "true")
    # The folder takes its name only after the checks, so what bears that name was checked.
    with write.complete_or_nothing(destination, needed=write.weights_size(source)) as folder:
        write.write_llama(source, folder, config)
        tensors = check.check_tensors_equal(source, folder, config)
        texts = check.check_token_ids(source, folder)
        logits = check.logit_difference(source, folder, config) if args.check == "all" else None
    print(f"{destination}: {tensors} tensors read back and equal; token ids equal on {texts} texts.")
    if logits is None:
        print("Logits were not compared.")
    else:
        difference, largest, dtype = logits
        print(
            f"Logits of LlamaForCausalLM and of the original differ by at most {difference:.2g} "
            f"(largest logit {largest:.3g}, computed in {str(dtype).removeprefix('torch.')})."
        )
    return 0
