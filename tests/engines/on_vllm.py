"""Runs models on vLLM, in a process of its own: ``python on_vllm.py WHAT FILE`` reads FILE and writes FILE.answer.

vLLM sets the process up for itself (threads, warnings, a group of processes), so the tests keep it out of theirs. The
engine runs in this process too, but where a test ends it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")


def logits(given: dict[str, Any]) -> dict[str, float]:
    """By checkpoint, how far vLLM's log-probabilities of whole sequences are from the expected ones."""
    import torch
    from safetensors.torch import load_file
    from vllm import LLM, SamplingParams

    farthest = {}
    for name, (folder, overrides, expected) in given.items():
        stored = load_file(expected)
        engine = LLM(
            folder,
            dtype="float32",
            enforce_eager=True,
            max_logprobs=-1,
            skip_tokenizer_init=True,
            hf_overrides=overrides,
        )
        everything = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=-1, logprobs=-1, detokenize=False)
        farthest[name] = 0.0
        for key in (key for key in stored if key.startswith("ids.")):
            (output,) = engine.generate([{"prompt_token_ids": stored[key].tolist()}], everything, use_tqdm=False)
            rows = [*output.prompt_logprobs[1:], output.outputs[0].logprobs[0]]
            wanted = stored[key.replace("ids", "logits")].log_softmax(-1)
            for row, want in zip(rows, wanted, strict=True):
                found = torch.tensor([row[token].logprob for token in range(len(want))])
                farthest[name] = max(farthest[name], (found - want).abs().max().item())
        del engine
        gc.collect()
    return farthest


def requests(given: dict[str, Any]) -> dict[str, Any]:
    """What ``baichuan-vllm`` and ``baichuan`` answer to the same requests."""
    from lm_eval.api.instance import Instance
    from lm_eval.api.registry import get_model

    def instances(kind: str, arguments: list[Any], docs: list[dict[str, Any]]) -> list[Instance]:
        return [
            Instance(kind, doc, tuple(each), number, ("some_task", number, 1))
            for number, (each, doc) in enumerate(zip(arguments, docs, strict=True))
        ]

    answers = {}
    for model in ("baichuan", "baichuan-vllm"):  # vLLM leaves a group of processes behind
        eager = {"enforce_eager": True} if model == "baichuan-vllm" else {}
        lm = get_model(model)(
            pretrained=given["pretrained"], dtype="float32", device="cpu", **given["options"], **eager
        )
        chat = [lm.apply_chat_template(messages) for messages in given["chats"]]
        docs = given["docs"] + [{"label_tokens": "isolated"}] * len(chat)
        asked = given["loglikelihood"] + [[text, "A"] for text in chat]
        generation = [[text, {"until": ["\n\n"], "max_gen_toks": 12}] for text in (*given["generate"], *chat)]
        answers[model] = {
            "loglikelihood": lm.loglikelihood(instances("loglikelihood", asked, docs)),
            "rolling": lm.loglikelihood_rolling(
                instances("loglikelihood_rolling", [[text] for text in given["rolling"]], [{}] * len(given["rolling"]))
            ),
            "generated": lm.generate_until(instances("generate_until", generation, [{}] * len(generation))),
            "facts": lm.get_model_info(),
        }
        del lm
        gc.collect()
    return answers


def evaluate(given: dict[str, Any]) -> dict[str, Any]:
    """What ``baichuan-vllm`` and ``baichuan`` score of the same tasks, through lm-eval's own loop."""
    from lm_eval.evaluator import simple_evaluate

    found = {}
    for model in ("baichuan", "baichuan-vllm"):  # vLLM leaves a group of processes behind
        eager = {"enforce_eager": True} if model == "baichuan-vllm" else {}
        results = simple_evaluate(
            model=model,
            model_args={"dtype": "float32", **given["model_args"], **eager},
            device="cpu",
            **given["options"],
        )
        results["samples"] = {
            task: [[float(answer[0][0]) for answer in sample["resps"]] for sample in samples]
            for task, samples in results["samples"].items()
        }
        found[model] = {name: results[name] for name in ("results", "samples", "config")}
        gc.collect()
    return found


def ended(given: dict[str, Any]) -> None:
    """The ``lm_eval`` command, whose engine is killed once it answered three times."""
    import lm_eval.models  # noqa: F401  # registers
    import psutil
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.registry import get_model

    cls = get_model("baichuan-vllm")
    generated, calls = cls._generated, []
    sys.modules[cls.__module__].AT_ONCE = 8

    def then_kill(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            for child in psutil.Process().children():
                if "EngineCore" in " ".join(child.cmdline()) + child.name():
                    child.kill()
        return generated(self, *arguments)

    cls._generated = then_kill
    sys.argv = ["lm_eval", *given["arguments"]]
    cli_evaluate()


if __name__ == "__main__":
    what, file = sys.argv[1:]
    answer = globals()[what](json.loads(Path(file).read_text("utf-8")))
    Path(f"{file}.answer").write_text(json.dumps(answer, default=str), "utf-8")
