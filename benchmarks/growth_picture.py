"""The picture of how much faster the trie is, from the figures that benchmarks/scoring.py wrote.

python benchmarks/growth_picture.py benchmarks/growth.json docs/growth.svg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lm_eval_baichuan.html_report.chart_layers import SCHEMA
from lm_eval_baichuan.html_report.drawing import PICTURE, run_colours, save_picture


def growth_chart(figures: dict[str, Any]) -> dict[str, Any]:
    """How many times as long hf takes, over the questions behind a prefix: one line a length of the prefix."""
    rows = figures["growth"]
    prefixes = sorted({row["prefix"] for row in rows}, reverse=True)
    values = [
        {
            "prefix": f"{row['prefix']} tokens",
            "questions": row["questions"],
            "ratio": row["hf"] / row["trie"],
            "shown": f"{row['hf'] / row['trie']:.1f}",
        }
        for row in rows
    ]
    names = [f"{prefix} tokens" for prefix in prefixes]
    counts = sorted({row["questions"] for row in rows})
    x = {
        "field": "questions",
        "type": "quantitative",
        "scale": {"type": "log", "base": 2, "domain": [counts[0], counts[-1] * 1.3], "nice": False},
        "axis": {"values": counts, "title": "questions behind the prefix", "grid": False},
    }
    y = {
        "field": "ratio",
        "type": "quantitative",
        "scale": {"type": "log", "domain": [1, max(value["ratio"] for value in values) * 1.15], "nice": False},
        "axis": {"values": [1, 2, 5, 10, 20, 50, 100], "title": "hf's time / the trie's time"},
    }
    series = {
        "field": "prefix",
        "type": "nominal",
        "sort": names,
        "scale": {"domain": names, "range": run_colours(PICTURE)[: len(names)]},
        "legend": {"title": "common prefix"},
    }
    last = [value for value in values if value["questions"] == counts[-1]]
    return {
        "$schema": SCHEMA,
        "width": 520,
        "height": 280,
        "title": {
            "text": "The more is shared, the more is saved",
            "subtitle": [
                f"Questions of {figures['question_tokens']} tokens. {_measured_on(figures)}",
                _hf(figures),
                "",
            ],
        },
        "layer": [
            {
                "data": {"values": values},
                "mark": {"type": "line", "point": {"size": 45, "filled": True}, "strokeWidth": 2},
                "encoding": {"x": x, "y": y, "color": series},
            },
            {
                "data": {"values": last},
                "mark": {"type": "text", "align": "left", "dx": 8},
                "encoding": {"x": x, "y": y, "text": {"field": "shown"}},
            },
        ],
    }


def _measured_on(figures: dict[str, Any]) -> str:
    """The machine, without the versions."""
    return "; ".join(figures["machine"].split("; ")[:3])


def _hf(figures: dict[str, Any]) -> str:
    """How hf was run, and on how many questions where not on all."""
    fewer = {row["hf_questions"] for row in figures["growth"] if row["hf_questions"] < row["questions"]}
    scaled = f"; beyond {max(fewer)} questions its time is scaled up from these" if fewer else ""
    return f"hf in batches of {figures['growth_batch']}{scaled}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path, help="what scoring.py --out wrote")
    parser.add_argument("picture", type=Path, help="an .svg or .png")
    options = parser.parse_args()
    save_picture(growth_chart(json.loads(options.figures.read_text())), options.picture)


if __name__ == "__main__":
    main()
