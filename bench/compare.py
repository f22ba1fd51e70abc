"""Times keel and its peers in turn on the same weights and token ids, and prints docs/performance.md's table.

    KEEL_PEERS=DIR python3 bench/compare.py --model MODELS/s15m --data HH.jsonl.gz [--pairs 5] [--workloads generate sft rm ppo]
                                            [--engines openvino llama.cpp]

KEEL_PEERS names a folder with the peers' scripts and their run.sh; HH.jsonl.gz holds the pairs that reward models are trained on. One pair
of timings is one run of keel and one of the peer, one straight after the other, each after a warm-up; the median of the ratios counts, for
timings of different minutes cannot be compared. --engines adds programs that generate alone. Needs `make build`.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Generation: keel's benchmark, and what each program that generates is asked for: arguments, and the result line that is meant.
GENERATION = [
    ("generation, batch 1", "generation/1", "--batch 1", "generate_fixed_b1"),
    ("generation, batch 16", "generation/16", "--batch 16", "generate_fixed_b16"),
    ("generation, batch 64", "generation/64", "--batch 64", "generate_fixed_b64"),
    ("generation, 16 samples of a prompt of 256", "generation_samples/16", "--mode samples --batch 16", "generate_samples_b16"),
    ("generation, 256 prompts, natural lengths", "generation_natural/256", "--mode natural --batch 256", "generate_natural_b256"),
]
GENERATORS = {"transformers": "generate.py", "openvino": "openvino_gen.py", "llama.cpp": "llamacpp.py"}

# Workload: benchmark of keel, peer's script with its arguments, and the result line that is meant.
WORKLOADS = {
    "sft": [
        ("SFT, 8 x 256 ids", "sft_full", "sft.py --mode full", "sft_full", "transformers"),
        ("SFT, 64 dialogues", "sft_natural", "sft.py --mode natural", "sft_natural", "transformers"),
    ],
    "rm": [
        ("RM scoring, 512 dialogues", "rm_score", "rm_score.py --order sorted", "rm_score_sorted", "transformers"),
        ("RM training, 32 pairs", "rm_train", "rm_train.py --pairs 32 --batch 8 --data {data}", "rm_train", "trl"),
    ],
    "ppo": [("PPO iteration, 64 answers", "ppo_iteration", "ppo.py --epochs 1", "ppo_iteration_1ep", "trl")],
}


def generation(engine):
    """Rows of the table for a program that generates."""
    return [(title, benchmark, f"{GENERATORS[engine]} {arguments}", workload, engine)
            for title, benchmark, arguments, workload in GENERATION]


def keel(benchmark, model, data):
    """Tokens a second of one benchmark."""
    out = subprocess.run([ROOT / "build/release/bench/keel_bench", f"--benchmark_filter=^{benchmark}/real_time$", "--benchmark_min_warmup_time=1",
                          "--benchmark_format=json"],
                         env={**os.environ, "KEEL_BENCH_MODEL": str(model), "KEEL_BENCH_PAIRS": str(data)}, check=True,
                         capture_output=True, text=True).stdout
    report = json.loads(out)
    return report["benchmarks"][0]["tokens/s"], report["context"]["vector_level"]


def peer(command, workload, model):
    """Tokens a second that a peer's script reports."""
    script, *arguments = command.split()
    out = subprocess.run([pathlib.Path(os.environ["KEEL_PEERS"]) / "run.sh", script, "--model", model, "--repeat", "1", *arguments],
                         check=True, capture_output=True, text=True).stdout
    lines = [json.loads(line) for line in out.splitlines() if line.startswith('{"')]
    return next(line["tokens_per_s"] for line in lines if line["workload"] == workload)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--workloads", nargs="+", choices=["generate", *WORKLOADS], default=["generate", *WORKLOADS])
    parser.add_argument("--engines", nargs="+", choices=[*GENERATORS][1:], default=[], help="generation beside these too")
    args = parser.parse_args()
    model, data = args.model.resolve(), args.data.resolve()
    chosen = [row for name in args.workloads for row in (generation("transformers") if name == "generate" else WORKLOADS[name])]
    chosen += [row for engine in args.engines for row in generation(engine)]
    print("| workload | keel, tokens/s | peer, tokens/s | peer | keel / peer: median (lowest to highest pair) |\n|---|---|---|---|---|")
    for title, benchmark, command, workload, name in chosen:
        ours, theirs, level = [], [], ""
        for _ in range(args.pairs):
            speed, level = keel(benchmark, model, data)
            ours.append(speed)
            theirs.append(peer(command.format(data=data), workload, model))
        ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"| {title} | {statistics.median(ours):.0f} | {statistics.median(theirs):.0f} | {name} "
              f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |", flush=True)
    print(f"\n{args.pairs} pairs each, vector level {level}.")


if __name__ == "__main__":
    main()
