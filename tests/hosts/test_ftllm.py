"""ftllm's native functions that we lean on are where we look for them; looked up in a process of their own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from lm_eval_baichuan.model_adapters.hosts.ftllm import LEANS, RUN, installed_version


@pytest.mark.skipif(importlib.util.find_spec("ftllm") is None, reason="ftllm is not installed")
def test_names_have_not_moved() -> None:
    names = [lean.where.partition(":")[2] for lean in LEANS]
    looked_up = "\n".join(["from ftllm import llm", *(f"llm.{name}" for name in names), "print('all there')"])
    done = subprocess.run([sys.executable, "-c", looked_up], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines()[-1] == "all there", done.stderr
    assert str(installed_version()).startswith(RUN)
