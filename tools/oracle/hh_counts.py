"""Counts of usable HH-RLHF pairs, worked out apart from keel's reader: python3 tools/oracle/hh_counts.py FILE.jsonl.gz ...

A pair is dropped when the two texts differ before their last "\\n\\nAssistant:" (prompts_differ), when an answer is blank (empty_answer)
or when both answers are one (identical_answers). The figures stand in tests/data/preferences_test.cpp.
"""

import collections
import gzip
import json
import sys

CUT = "\n\nAssistant:"


def why_dropped(row: dict[str, str]) -> str:
    chosen_prompt, _, chosen = row["chosen"].rpartition(CUT)
    rejected_prompt, _, rejected = row["rejected"].rpartition(CUT)
    if "\n\nHuman:" in chosen or "\n\nHuman:" in rejected:
        return "no_answer"
    if chosen_prompt != rejected_prompt:
        return "prompts_differ"
    if not chosen.strip() or not rejected.strip():
        return "empty_answer"
    return "identical_answers" if chosen.strip() == rejected.strip() else "kept"


def main() -> None:
    for path in sys.argv[1:]:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        counts = collections.Counter(why_dropped(row) for row in rows)
        turns = sum(row["chosen"].count("\n\nHuman:") for row in rows if why_dropped(row) == "kept")
        answers = sum(len(row["chosen"].rpartition(CUT)[2].strip().encode()) for row in rows if why_dropped(row) == "kept")
        print(path, dict(sorted(counts.items())), f"{turns} human turns, {answers} bytes of chosen answers")


if __name__ == "__main__":
    main()
