"""Lays out public data sets as recipes/own-data.json reads them: weeks of preference pairs (it reads two of three), and prompts with "hazard".

    python3 tools/own_data.py --helpful helpful-base/test.jsonl.gz --harmless harmless-base/test.jsonl.gz --xstest xstest_prompts.csv \
        --attacks harmful_behaviors.csv --tasks seed_tasks.jsonl --demonstrations safety_only_data_Instructions.json --out data

The first two are HH-RLHF (https://github.com/anthropics/hh-rlhf), the prompts are XSTest's, AdvBench's and self-instruct's, the demonstrations those of
Safety-Tuned LLaMAs. Of the pairs the first 60 % are week 1, the next 25 % week 2 and the last ones week 3.
"""
import argparse
import csv
import gzip
import json
import pathlib
import shutil

WEEKS = [(0.0, 0.6), (0.6, 0.85), (0.85, 1.0)]  # shares of the pairs


def prompts_of(args):
    with open(args.xstest, newline="") as file:
        for row in csv.DictReader(file):
            yield {"prompt": row["prompt"], "hazard": row["label"] == "unsafe", "source": "xstest"}
    with open(args.attacks, newline="") as file:
        for row in csv.DictReader(file):
            yield {"prompt": row["goal"], "hazard": True, "source": "advbench"}
    for line in open(args.tasks):
        row = json.loads(line)
        inputs = {instance["input"] for instance in row["instances"]}
        for text in sorted(inputs):
            yield {"prompt": row["instruction"] + ("\n\n" + text if text else ""), "hazard": False, "source": "self-instruct"}
    for kind, file in (("helpful-base", args.helpful), ("harmless-base", args.harmless)):  # opening questions
        seen = set()
        for line in gzip.open(file, "rt"):
            question = json.loads(line)["chosen"].split("\n\nAssistant:")[0].removeprefix("\n\nHuman:").strip()
            if question and question not in seen and "\n\n" not in question:
                seen.add(question)
                yield {"prompt": question, "hazard": kind == "harmless-base", "source": kind}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("helpful", "harmless", "xstest", "attacks", "tasks", "demonstrations"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    for kind, file in (("helpful", args.helpful), ("harmless", args.harmless)):
        rows = gzip.open(file, "rt").readlines()
        for week, (begin, end) in enumerate(WEEKS, 1):
            folder = args.out / f"week{week}"
            folder.mkdir(parents=True, exist_ok=True)
            with gzip.open(folder / f"{kind}.jsonl.gz", "wt") as out:
                out.writelines(rows[round(begin * len(rows)):round(end * len(rows))])
    with open(args.out / "prompts.jsonl", "w") as out:
        for row in prompts_of(args):
            out.write(json.dumps(row) + "\n")
    shutil.copy(args.tasks, args.out / "tasks.jsonl")
    shutil.copy(args.demonstrations, args.out / "safe_answers.json")


if __name__ == "__main__":
    main()
