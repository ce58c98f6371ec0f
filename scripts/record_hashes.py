"""Writes hashes of the published files' rows, and fingerprints of the questions they make, from a folder of true files.

    python scripts/record_hashes.py DATA_DIR ceval/val/accountant_val.csv,mmlu,…

names the sets, or single files, of which the folder holds the true ones. What is not named has no hash there: it is
recorded by the first `data fetch`. Fingerprints are those of whole sets.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lm_eval_baichuan.data.known import FILE, rows_hash
from lm_eval_baichuan.data.sources import TASKS, benchmarks, home, set_files, task_module
from lm_eval_baichuan.model_adapters.lm.asked_questions import AskedQuestions
from lm_eval_baichuan.published.questions import FILE as QUESTIONS

ALL = "from the published files"
SOME = "by the first `data fetch`, in the folder's checksums.json; from the published files those below"


def fingerprints(benchmark: str, folder: Path) -> dict[str, Any]:
    """Return what a full run of each task of a set records of its questions."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(
        include_path=str(TASKS / f"{benchmark}_5shot"), include_defaults=False, metadata={"data_dir": str(folder)}
    )
    asked = AskedQuestions()
    for name, task in manager.load([f"{benchmark}_5shot"])["tasks"].items():
        asked.note(
            SimpleNamespace(task_name=name, doc_id=number, doc=doc)  # type: ignore[misc]
            for number, doc in enumerate(task.eval_docs)
        )
    return asked.as_dict()


def main() -> None:
    """Read every file as the tasks do, and write the hashes and fingerprints."""
    folder, true_ones = Path(sys.argv[1]), set(sys.argv[2].split(","))
    sets = {}
    questions: dict[str, Any] = {}
    for name in benchmarks():
        files = [file for file in set_files(name) if true_ones & {name, file.path}]
        hashes = {file.path: rows_hash(task_module(name).read_rows(file.source, str(folder))) for file in files}
        recorded = ALL if len(files) == len(set_files(name)) else SOME
        sets[name] = {"revision": home(name)[1], "recorded": recorded, "files": hashes}
        if recorded == ALL:
            questions |= fingerprints(name, folder)
    FILE.write_text(json.dumps(sets, indent=1) + "\n", "utf-8")
    QUESTIONS.write_text(json.dumps(questions, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
