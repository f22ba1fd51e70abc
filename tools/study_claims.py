"""What a study of sandbox-v5 shows beyond the table of `keel ablate`, as Markdown: python3 tools/study_claims.py runs/study/run

Reads the newest report of each seed, and what it was made from. Every figure is a mean over seeds with its smallest and largest value; what
is compared prompt by prompt or pair by pair also has a 95 % normal interval over the prompts of all seeds together.
"""
import collections
import json
import math
import pathlib
import statistics
import sys

STRENGTHS = [4, 3, 2, 1]  # 4: significantly better, 1: negligibly better or unsure


class Seed:
    """The stages that one seed's report was made from."""

    def __init__(self, stages, manifest):
        self.number = manifest["material"]["seed"]
        self.folders = {name: stages / name / record["key"][:12] for name, record in manifest["inputs"].items()}

    def json(self, stage, file):
        return json.loads((self.folders[stage] / file).read_text())

    def versions(self):
        return [name for name in self.folders if name.startswith("rs")] + ["ppo"]


def spread(values):
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def normal_interval(values):
    half = 1.96 * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):+.3f} [{statistics.mean(values) - half:+.3f}, {statistics.mean(values) + half:+.3f}]"


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def reward_accuracy(seeds):
    """(a) Accuracy by strength beside what the annotator's noise allows, on the test pairs of all batches; (b) own kind against other kinds."""
    for kind in ("helpfulness", "safety"):
        rows = []
        for name in ["all"] + STRENGTHS:
            reached, possible = [], []
            for seed in seeds:
                evaluation = seed.json(f"reward_{kind}5", "evaluation.json")
                batches = [seed.json(f"preferences{n or ''}", "annotator.json")[kind]["reported"] for n in ("", 2, 3, 4, 5)]
                if name == "all":
                    reached.append(evaluation["accuracy"]["mean"])
                    parts = [(batch["pairs"], batch["best_possible_accuracy"]) for batch in batches]
                else:
                    reached.append(next(row["mean"] for row in evaluation["by_strength"] if row["strength"] == name))
                    parts = [(batch["by_strength"][name - 1]["pairs"], batch["by_strength"][name - 1]["best_possible_accuracy"]) for batch in batches]
                possible.append(sum(n * p for n, p in parts) / sum(n for n, _ in parts))
            rows.append([str(name), spread(reached), spread(possible), spread([r / p for r, p in zip(reached, possible)])])
        table([f"{kind} RM, strength", "accuracy", "best possible", "reached"], rows)

    cells = collections.defaultdict(list)
    for seed in seeds:
        for row in seed.json("evaluation", "reward_models.json")["evaluations"]:
            cells[row["reward"], row["data"]].append(row["accuracy"]["mean"])
    kinds = ["helpfulness", "safety", "general"]
    table(["RM", *("on " + kind for kind in kinds)], [[reward, *(spread(cells[reward, data]) for data in kinds)] for reward in kinds])


def best_of_n(seeds):
    """(e) The best of n grows and the median does not; (f) the temperature of the best answer, and what heat costs the best of four."""
    studies = [seed.json("best_of", "best_of.json") for seed in seeds]
    rows = []
    for model in ["sft", *seeds[0].versions()]:
        def scores(count, key, temperature):
            curves = [curve["scores_by_count"] for study in studies for curve in study["curves"]
                      if curve["model"] == model and curve["temperature"] == temperature]
            return [point[key]["mean"] for curve in curves for point in curve if point["answers"] == count]

        best = [row for study in studies for row in study["best_temperature"] if row["model"] == model and row["answers"] == 16]
        heat = [hot - cold for hot, cold in zip(scores(4, "maximum", 1.4), scores(4, "maximum", 0.6))]
        rows.append([model, *(spread(scores(count, "maximum", 1)) for count in (1, 4, 16)), spread(scores(16, "median", 1)),
                     ", ".join("{temperature:g} [{low:g}, {high:g}]".format(**row) for row in best), spread(heat)])
    table(["model", "best of 1", "of 4", "of 16", "median of 16", "best temperature of 16, by seed", "of 4: at 1.4 less at 0.6"], rows)


def gold_by_version(seeds):
    """(g) The truth, by version; differences are by prompt."""
    answers = {seed.number: collections.defaultdict(dict) for seed in seeds}
    for seed in seeds:
        for line in (seed.folders["evaluation"] / "answers.jsonl").open():
            row = json.loads(line)
            answers[seed.number][row["model"]][row["prompt"]] = row
    measures = {"gold helpfulness": ("gold_helpfulness", False), "gold safety": ("gold_safety", True)}
    models = ["sft", *seeds[0].versions()]
    for title, (key, hazard) in measures.items():
        def values(number, model):
            return {prompt: row[key] for prompt, row in answers[number][model].items() if row["hazard"] == hazard}

        def differences(after, before):
            return [value - values(seed.number, before)[prompt] for seed in seeds for prompt, value in values(seed.number, after).items()]

        rows = [[model, spread([statistics.mean(values(seed.number, model).values()) for seed in seeds]),
                 "" if model == "sft" else normal_interval(differences(model, "sft")),
                 "" if model in ("sft", "rs1") else normal_interval(differences(model, "rs1"))] for model in models]
        table(["model", title, "against sft", "against V1"], rows)


def main():
    stages = pathlib.Path(sys.argv[1]) / "stages"
    manifests = [json.loads(path.read_text()) for path in stages.glob("report/*/manifest.json") if path.parent.name != "current"]
    newest = {manifest["material"]["seed"]: manifest for manifest in sorted(manifests, key=lambda manifest: manifest["finished"])}
    seeds = [Seed(stages, newest[number]) for number in sorted(newest)]
    print(f"Seeds {', '.join(str(seed.number) for seed in seeds)}\n")
    for part in (reward_accuracy, best_of_n, gold_by_version):
        print(part.__doc__ + "\n")
        part(seeds)


if __name__ == "__main__":
    main()
