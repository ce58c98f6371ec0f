#!/usr/bin/env python3
"""Fail unless a run of the demo, saved by lm-eval's --output_path, is far above guessing: check_demo_score FOLDER."""

import json
import sys
from pathlib import Path

LOWEST = 0.6  # four options: guessing gives 0.25

(saved,) = Path(sys.argv[1]).rglob("results_*.json")
score = json.loads(saved.read_text(encoding="utf-8"))["results"]["demo_5shot"]["acc,none"]
print(f"demo_5shot: {score:.1%} right, at least {LOWEST:.0%} needed")
sys.exit(score < LOWEST)
