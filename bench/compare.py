"""Times keel and its peers in turn on the same weights and token ids, and prints docs/performance.md's table.

    KEEL_PEERS=DIR python3 bench/compare.py --model MODELS/s15m --data HH.jsonl.gz [--pairs 5]
                                            [--workloads generate sft rm ppo rejection] [--engines openvino llama.cpp vllm]
                                            [--precision bf16] [--only generation/64]

KEEL_PEERS names a folder with the peers' scripts and their run.sh; HH.jsonl.gz holds the pairs that reward models are trained on. One pair
of timings is one run of keel and one of the peer, one straight after the other, each after a warm-up; the median of the ratios counts, for
timings of different minutes cannot be compared. Memory is the largest that a process held, programs and libraries included. --engines adds
programs that generate, or score, alone. Needs `make build`.
"""
import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Workload: benchmark of keel, then the peer's script with its arguments and the result line that is meant.
GENERATION = [
    ("generation, batch 1", "generation/1", "--batch 1", "generate_fixed_b1"),
    ("generation, batch 16", "generation/16", "--batch 16", "generate_fixed_b16"),
    ("generation, batch 64", "generation/64", "--batch 64", "generate_fixed_b64"),
    ("generation, 16 samples of a prompt of 256", "generation_samples/16", "--mode samples --batch 16", "generate_samples_b16"),
    ("generation, 256 prompts, natural lengths", "generation_natural/256", "--mode natural --batch 256", "generate_natural_b256"),
]
GENERATORS = {"transformers": "generate.py", "openvino": "openvino_gen.py", "llama.cpp": "llamacpp.py", "vllm": "vllm_cpu.py"}
TRAINING = {
    "sft": [
        ("SFT, 8 x 256 ids", "sft_full", "sft.py --mode full", "sft_full", "transformers"),
        ("SFT, 64 dialogues", "sft_natural", "sft.py --mode natural", "sft_natural", "transformers"),
        ("SFT, 64 dialogues", "sft_natural", "sft.py --mode trl", "sft_natural", "trl"),
        ("SFT, 64 dialogues", "sft_natural", "sft.py --mode trl-packed", "sft_natural", "trl, packed"),
    ],
    "rm": [
        ("RM scoring, 512 dialogues, sorted", "rm_score", "rm_score.py --order sorted", "rm_score_sorted", "transformers"),
        ("RM scoring, 512 dialogues", "rm_score", "rm_score.py --order unsorted", "rm_score_unsorted", "transformers"),
        ("RM training, 32 pairs", "rm_train", "rm_train.py --pairs 32 --batch 8 --data {data}", "rm_train", "trl"),
    ],
    "ppo": [
        ("PPO iteration, 64 answers", "ppo_iteration", "ppo.py --epochs 1", "ppo_iteration_1ep", "trl"),
        ("PPO iteration, 64 answers, critic on the policy", "ppo_shared", "ppo.py --epochs 1", "ppo_iteration_1ep", "trl"),
    ],
}
VLLM_SCORING = [("RM scoring, 512 dialogues, sorted", "rm_score", "vllm_cpu.py --mode score --order sorted", "rm_score_sorted", "vllm")]
SAMPLES = 16  # of a prompt, where prompts are shared


def keel(benchmark, model, data):
    """Tokens a second, MB and vector level of one benchmark."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([ROOT / "build/release/bench/keel_bench", f"--benchmark_filter=^{benchmark}/real_time$",
                                    "--benchmark_min_warmup_time=1", "--benchmark_format=json"],
                                   env={**os.environ, "KEEL_BENCH_MODEL": str(model), "KEEL_BENCH_PAIRS": str(data)},
                                   stdout=out, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"keel_bench ended with {os.waitstatus_to_exitcode(status)}")
        out.seek(0)
        report = json.load(out)
    return report["benchmarks"][0]["tokens/s"], used.ru_maxrss / 1024, report["context"]["vector_level"]


def peer(command, workload, model):
    """Tokens a second that a peer's script reports, and MB."""
    script, *arguments = command.split()
    precision = ["--dtype", "bf16"] if os.environ["KEEL_BENCH_PRECISION"] == "bf16" else []
    out = subprocess.run([pathlib.Path(os.environ["KEEL_PEERS"]) / "run.sh", script, "--model", model, "--repeat", "1", *precision, *arguments],
                         check=True, capture_output=True, text=True).stdout
    lines = [json.loads(line) for line in out.splitlines() if line.startswith('{"')]
    found = next(line for line in lines if line["workload"] == workload)
    return found["tokens_per_s"], found["peak_rss_mb"]


@contextlib.contextmanager
def shared_prompts(model):
    """The model in a folder whose inputs are 16 answers to each prompt of 256 ids, and how long those of each prompt are."""
    inputs = model.parent / "inputs"
    prompts = [json.loads(line)["ids"][:256] for line in (inputs / "prompts256.jsonl").read_text().splitlines()]
    texts = [json.loads(line)["ids"] for line in (inputs / "texts.jsonl").read_text().splitlines()]
    lengths = json.loads((inputs / "lengths.json").read_text())[:32]
    with tempfile.TemporaryDirectory() as folder:
        made = pathlib.Path(folder, "inputs")
        made.mkdir()
        pathlib.Path(folder, model.name).symlink_to(model)

        def write(name, rows):
            (made / name).write_text("".join(json.dumps({"ids": row}) + "\n" for row in rows))

        write("prompts256.jsonl", prompts)
        write("prompts64.jsonl", [prompt for prompt in prompts for _ in range(SAMPLES)])  # what the peer generates from
        write("texts.jsonl", [prompts[i // SAMPLES] + (texts[i] * 512)[:lengths[i // SAMPLES]] for i in range(SAMPLES * len(lengths))])
        (made / "lengths.json").write_text(json.dumps([length for length in lengths for _ in range(SAMPLES)]))
        yield pathlib.Path(folder, model.name), lengths


def generation(engine):
    """Rows of the table for a program that generates."""
    return [(title, benchmark, f"{GENERATORS[engine]} {arguments}", workload, engine)
            for title, benchmark, arguments, workload in GENERATION]


def compare(title, name, pairs, ours, theirs):
    """A row of the table: `ours` and `theirs` run once in turn, and give tokens a second and MB."""
    runs = [(ours(), theirs()) for _ in range(pairs)]
    ratios = sorted(a[0] / b[0] for a, b in runs)
    speeds, memory = ([round(statistics.median(run[side][what] for run in runs)) for side in (0, 1)] for what in (0, 1))
    print(f"| {title} | {speeds[0]} | {speeds[1]} | {name} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) "
          f"| {memory[0]} | {memory[1]} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--workloads", nargs="*", choices=["generate", *TRAINING, "rejection"],
                        default=["generate", *TRAINING, "rejection"])
    parser.add_argument("--engines", nargs="+", choices=[*GENERATORS][1:], default=[], help="generation, or scoring, beside these too")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="what both compute in")
    parser.add_argument("--only", default="", help="rows whose benchmark of keel begins with this")
    args = parser.parse_args()
    model, data = args.model.resolve(), args.data.resolve()
    os.environ["KEEL_BENCH_PRECISION"] = args.precision
    level = keel("generation/1", model, data)[2]
    print("| workload | keel, tokens/s | peer, tokens/s | peer | keel / peer: median (lowest to highest pair) | keel, MB | peer, MB |\n"
          "|---|---|---|---|---|---|---|", flush=True)
    rows = [row for name in args.workloads for row in (generation("transformers") if name == "generate" else TRAINING.get(name, []))]
    rows += [row for engine in args.engines for row in [*generation(engine), *(VLLM_SCORING if engine == "vllm" else [])]]
    for title, benchmark, command, workload, name in rows:
        if benchmark.startswith(args.only):
            compare(title, name, args.pairs, lambda: keel(benchmark, model, data)[:2],
                    lambda: peer(command.format(data=data), workload, model))
    with shared_prompts(model) as (shared, lengths):
        if "rm" in args.workloads and "rm_score_shared".startswith(args.only):
            compare("RM scoring, 16 texts a prompt of 256, sorted", "transformers", args.pairs, lambda: keel("rm_score", shared, data)[:2],
                    lambda: peer("rm_score.py --order sorted", "rm_score_sorted", shared))
        if "rejection" in args.workloads and "rejection".startswith(args.only):
            # Both of the peer's parts, as tokens of answers over the sum of their times.
            def reject():
                tokens = SAMPLES * sum(lengths[:16])
                written, memory = peer("generate.py --mode natural --batch 256", "generate_natural_b256", shared)
                read, more = peer("rm_score.py --order sorted --texts 256", "rm_score_sorted", shared)
                texts = [json.loads(line)["ids"] for line in (shared.parent / "inputs/texts.jsonl").read_text().splitlines()[:256]]
                return tokens / (tokens / written + sum(map(len, texts)) / read), max(memory, more)

            compare("rejection sampling, 16 x 16 answers, scored", "transformers", args.pairs,
                    lambda: keel("rejection", shared, data)[:2], reject)
        if "ppo" in args.workloads and "ppo_natural".startswith(args.only):
            # TRL's trainer computes every answer to the longest one's end.
            natural = json.loads((model.parent / "inputs/lengths.json").read_text())[:64]

            def padded():
                speed, memory = peer(f"ppo.py --epochs 1 --new {max(natural)}", "ppo_iteration_1ep", model)
                return speed * sum(natural) / (64 * max(natural)), memory

            compare("PPO iteration, 64 answers of natural lengths", "trl", args.pairs, lambda: keel("ppo_natural", model, data)[:2], padded)
    print(f"\n{args.pairs} pairs each, vector level {level}, {args.precision}.")


if __name__ == "__main__":
    main()
