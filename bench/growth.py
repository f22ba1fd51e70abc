"""How keel's cost of writing grows with batch, lengths, samples of a prompt and the model's width: a table, and a figure as SVG.

    python3 bench/growth.py [--svg docs/images/growth.svg]

A 15 M model with random weights unless the width grows. Needs `make build`.
"""
import argparse
import json
import math
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
PANELS = {  # benchmark: what its argument is
    "growth_batch": "answers at once (prompts of 64, 64 new)",
    "growth_answer": "new ids (16 prompts of 64)",
    "growth_prompt": "ids of a prompt, read (16 prompts, 1 new)",
    "growth_samples": "samples of one prompt of 256 (64 new)",
    "growth_width": "width of the model (16 answers of 64, from one id)",
}
WIDTH, HEIGHT, LEFT, BOTTOM = 300, 190, 46, 34


def measure():
    """{benchmark: [(argument, tokens a second, weights or None)]}."""
    out = subprocess.run([ROOT / "build/release/bench/keel_bench", "--benchmark_filter=^growth_", "--benchmark_min_warmup_time=0.5",
                          "--benchmark_repetitions=3", "--benchmark_report_aggregates_only=true", "--benchmark_format=json"],
                         check=True, capture_output=True, text=True).stdout
    report, found = json.loads(out), {name: [] for name in PANELS}
    for row in report["benchmarks"]:
        if row["aggregate_name"] == "median":
            name, argument = row["run_name"].split("/")[:2]
            found[name].append((int(argument), row["tokens/s"], row.get("weights")))
    return found, report["context"]["vector_level"]


def short(number):
    return f"{number / 1e6:.3g} M" if number >= 1e6 else f"{number / 1e3:.3g} k" if number >= 1000 else f"{number:.3g}"


def panel(title, points, x, y):
    """One diagram with its upper left corner at (x, y), both axes logarithmic."""
    xs, ys = [math.log2(p[0]) for p in points], [math.log10(p[1]) for p in points]
    low, high = math.floor(min(ys)), math.ceil(max(ys))
    across = [x + LEFT + (v - xs[0]) / (xs[-1] - xs[0]) * (WIDTH - LEFT - 14) for v in xs]
    up = [y + HEIGHT - BOTTOM - (v - low) / (high - low) * (HEIGHT - BOTTOM - 24) for v in ys]
    lines = [f'<text x="{x + 4}" y="{y + 12}" font-weight="bold">{title}</text>']
    for power in range(low, high + 1):
        level = y + HEIGHT - BOTTOM - (power - low) / (high - low) * (HEIGHT - BOTTOM - 24)
        lines.append(f'<path d="M{x + LEFT} {level:.1f}H{x + WIDTH - 14}" stroke="#ddd"/>'
                     f'<text x="{x + LEFT - 4}" y="{level + 4:.1f}" text-anchor="end">{short(10 ** power)}</text>')
    for (argument, *_), place in zip(points, across, strict=True):
        lines.append(f'<text x="{place:.1f}" y="{y + HEIGHT - BOTTOM + 14}" text-anchor="middle">{argument}</text>')
    lines.append('<path fill="none" stroke="#2563a8" stroke-width="2" d="M'
                 + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(across, up, strict=True)) + '"/>')
    lines += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="#2563a8"/>' for a, b in zip(across, up, strict=True)]
    return "".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--svg", type=pathlib.Path)
    args = parser.parse_args()
    found, level = measure()
    print(f"tokens a second, {level}")
    for name, title in PANELS.items():
        cells = [f"{argument}: {short(speed)}" + (f" ({2 * weights * speed / 1e9:.0f} GFLOP/s)" if weights else "")
                 for argument, speed, weights in found[name]]
        print(f"- {title}: {', '.join(cells)}")
    if args.svg:
        panels = [panel(title, found[name], 8 + i % 2 * (WIDTH + 12), 8 + i // 2 * (HEIGHT + 8)) for i, (name, title) in
                  enumerate(PANELS.items())]
        rows = (len(panels) + 1) // 2
        args.svg.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH + 28} {rows * (HEIGHT + 8) + 8}" '
                            f'font-family="sans-serif" font-size="10"><rect width="100%" height="100%" fill="white"/>'
                            + "\n".join(panels) + "</svg>\n")


if __name__ == "__main__":
    main()
