"""Writes the hashes of the published files' rows from a folder that holds them.

    python scripts/record_hashes.py DATA_DIR ceval,mmlu,…    # the sets of which the folder holds the true files

Sets that are not named keep an entry without hashes: theirs are recorded by the first `data fetch`.
"""

import json
import sys
from pathlib import Path

from lm_eval_baichuan.data.known import FILE, rows_hash
from lm_eval_baichuan.data.sources import benchmarks, home, set_files, task_module

RECORDED = {True: "from the published files", False: "by the first `data fetch`, in the folder's checksums.json"}


def main() -> None:
    """Read every file as the tasks do, and write the hashes."""
    folder, true_sets = Path(sys.argv[1]), sys.argv[2].split(",")
    sets = {}
    for name in benchmarks():
        files = set_files(name) if name in true_sets else []
        hashes = {file.path: rows_hash(task_module(name).read_rows(file.source, str(folder))) for file in files}
        sets[name] = {"revision": home(name)[1], "recorded": RECORDED[name in true_sets], "files": hashes}
    FILE.write_text(json.dumps(sets, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
