"""Writes the hashes of the published files' rows from a folder that holds them.

    python scripts/record_hashes.py DATA_DIR ceval/val/accountant_val.csv,mmlu,…

names the sets, or single files, of which the folder holds the true ones. What is not named has no hash there: it is
recorded by the first `data fetch`.
"""

import json
import sys
from pathlib import Path

from lm_eval_baichuan.data.known import FILE, rows_hash
from lm_eval_baichuan.data.sources import benchmarks, home, set_files, task_module

ALL = "from the published files"
SOME = "by the first `data fetch`, in the folder's checksums.json; from the published files those below"


def main() -> None:
    """Read every file as the tasks do, and write the hashes."""
    folder, true_ones = Path(sys.argv[1]), set(sys.argv[2].split(","))
    sets = {}
    for name in benchmarks():
        files = [file for file in set_files(name) if true_ones & {name, file.path}]
        hashes = {file.path: rows_hash(task_module(name).read_rows(file.source, str(folder))) for file in files}
        recorded = ALL if len(files) == len(set_files(name)) else SOME
        sets[name] = {"revision": home(name)[1], "recorded": recorded, "files": hashes}
    FILE.write_text(json.dumps(sets, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
