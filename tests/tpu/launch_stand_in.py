"""Stands for `gcloud`: replays answers from a file, and notes what it was asked.

The folder GCLOUD_STAND_IN has `answers.json`, a list of [pattern, output, exit code]. The first
entry whose pattern is in the command line answers it, and is used up unless it is the last with
its pattern. What nothing answers succeeds silently. `calls.txt` gets every command line.
"""

import json
import os
import sys
from pathlib import Path

folder = Path(os.environ["GCLOUD_STAND_IN"])
call = " ".join(sys.argv[1:])
with (folder / "calls.txt").open("a") as calls:
    calls.write(call + "\n")
answers = json.loads((folder / "answers.json").read_text())
for index, (pattern, output, code) in enumerate(answers):
    if pattern in call:
        if any(other == pattern for other, *_ in answers[index + 1 :]):
            del answers[index]
            (folder / "answers.json").write_text(json.dumps(answers))
        print(output, file=sys.stderr if code else sys.stdout)
        sys.exit(code)
