"""What stands in for ftllm's module ``llm``, copied to where a process of its own imports it.

Its logits are those of transformers' Llama over the prepared folder, or where ``STAND_IN_MODEL`` is not set, some that
tell prompts apart. ``STAND_IN_TROUBLE`` says what goes wrong.
"""

import os
import sys
import time

import numpy as np

TROUBLE = os.environ.get("STAND_IN_TROUBLE", "")
LAUNCHED_BEFORE_TROUBLE = 3

fastllm_data_type_dict = {"float32": 0, "float16": 7}
print("Load libfastllm_tools.so")


def set_device_map(device):
    assert device == "cpu"


def set_cpu_threads(threads):
    assert threads > 0


class Library:
    def create_llm_model_fromhf(self, folder, dtype, groups, no_tokenizer, lora, moe, moe_dtype, moe_groups, config):
        if TROUBLE == "ends while loading":
            print("FastLLM Error: Missing safetensors weights\nPress any key to exit...", flush=True)
            os._exit(0)
        self.model = None
        if os.environ.get("STAND_IN_MODEL"):
            from transformers import LlamaForCausalLM

            self.model = LlamaForCausalLM.from_pretrained(folder.decode()).eval()
        self.launched = 0
        self.steps = {}
        return 5

    def set_save_history(self, model, on):
        assert (model, on) == (5, True)

    def launch_response_llm_model(self, model, count, ids, tokens, shortest, sample, top_p, top_k, *rest):
        assert (model, shortest, sample, top_k) == (5, 0, False, 1)
        self.launched += 1
        print("noise {" * 50, flush=True)
        print('{"prompt": 0, "logprobs": [0.0], "best": 0}', file=sys.stderr, flush=True)
        if self.launched > LAUNCHED_BEFORE_TROUBLE:
            if TROUBLE == "ends":
                print("FastLLM Error: out of luck", flush=True)
                os._exit(0)
            if TROUBLE == "hangs":
                time.sleep(600)
        self.steps[self.launched] = [list(ids), tokens]
        return self.launched

    def fetch_response_logits_llm_model(self, model, handle, place):
        ids, left = self.steps[handle]
        if not left or TROUBLE == "gives nothing":
            return -1
        logits = self.logits(ids)
        best = int(logits.argmax())
        self.steps[handle] = [[*ids, best], left - 1]
        if TROUBLE == "NaN":
            logits[7] = np.nan
        if TROUBLE == "too few":
            logits = logits[:-1]
        if TROUBLE == "wrong":
            logits[best] -= 1
        np.ctypeslib.as_array(place, (len(logits),))[:] = logits
        return best

    def abort_response_llm_model(self, model, handle):
        self.steps[handle][1] = 0

    def logits(self, ids):
        if self.model is None:
            return np.random.default_rng(ids).normal(size=20).astype(np.float32)
        import torch

        with torch.inference_mode():
            return self.model(input_ids=torch.tensor([ids])).logits[0, -1].float().numpy().copy()


fastllm_lib = Library()
