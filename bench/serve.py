"""Throughput of keel serve beside offline keel score and a FastAPI + transformers service, on the same texts. Prints a table.

    PEERS_VENV/bin/python bench/serve.py --model RM --texts FILE [--pairs 3] [--connections 256] [--count 512]

RM: a reward model that transformers and keel load. FILE: rows {"ids"}; both services get their text. Each text is a request of its own on a
connection of its own, as OpenRLHF sends samples; --connections of them are open at once. Needs `make build`, and in the interpreter's
environment transformers, fastapi, uvicorn, httptools and uvloop. Offline means the time of `keel score` less that of one row, i.e. of the
start and the load.
"""
import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from transformers import AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[1]
KEEL = ROOT / "build/release/keel"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def single(score):
    """The float32 that a score was before it was printed."""
    return struct.unpack("f", struct.pack("f", score))[0]


async def request(port, body):
    """The reply's JSON, from a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /get_reward HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
                 + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    reply = await reader.read()
    writer.close()
    head, _, content = reply.partition(b"\r\n\r\n")
    assert head.split()[1] == b"200", reply[:300]
    return json.loads(content)


async def ask_all(port, bodies, connections):
    """Seconds until all bodies are answered, `connections` at once, and the rewards."""
    waiting, rewards = iter(enumerate(bodies)), [None] * len(bodies)

    async def client():
        for i, body in waiting:
            rewards[i] = single((await request(port, body))["rewards"][0])

    begin = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    return time.perf_counter() - begin, rewards


@contextlib.contextmanager
def service(command, port, body, environment=None):
    """A service on `port` that has answered once."""
    process = subprocess.Popen(command, env={**os.environ, **(environment or {})}, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                asyncio.run(request(port, body))
                break
            except (OSError, AssertionError, IndexError):
                assert process.poll() is None, f"{command[0]} ended"
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def offline_seconds(args, rows):
    """Time and scores of keel score."""
    with tempfile.TemporaryDirectory() as folder:
        source, result = pathlib.Path(folder, "rows.jsonl"), pathlib.Path(folder, "scores.jsonl")
        source.write_text("".join(json.dumps({"ids": ids}) + "\n" for ids in rows))
        begin = time.perf_counter()
        subprocess.run([KEEL, "score", "--reward", args.model, "--in", source, "--out", result, "--threads", str(args.threads),
                        "--log-level", "error"], check=True)
        seconds = time.perf_counter() - begin
        return seconds, [single(json.loads(line)["score"]) for line in result.read_text().splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", type=pathlib.Path, required=True)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    lines = args.texts.read_text().splitlines()[:args.count]
    texts = [tokenizer.decode(json.loads(line)["ids"]) for line in lines]
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
    bodies = [json.dumps({"query": [text], "prompts": [text], "labels": [""]}).encode() for text in texts]
    tokens = sum(map(len, rows))
    allocator = subprocess.run("ldconfig -p | awk '/libtcmalloc_minimal.so.4/ {print $NF; exit}'", shell=True, capture_output=True,
                               text=True).stdout.strip()
    if not allocator:
        raise SystemExit("libtcmalloc_minimal.so.4 is missing, with which the peer is tuned: apt-get install libtcmalloc-minimal4")
    speeds = {"offline": [], "serve": [], "fastapi": []}
    difference = {"serve": 0.0, "fastapi": 0.0}
    for _ in range(args.pairs):
        start, _ = offline_seconds(args, rows[:1])
        whole, expected = offline_seconds(args, rows)
        speeds["offline"].append(tokens / (whole - start))
        for name in ("serve", "fastapi"):
            port = free_port()
            command = [KEEL, "serve", "--reward", args.model, "--bind", f"127.0.0.1:{port}", "--threads", str(args.threads),
                       "--log-level", "error"] if name == "serve" else [
                sys.executable, ROOT / "bench/fastapi_reward.py", "--model", args.model, "--port", str(port), "--threads", str(args.threads)]
            tuned = {"LD_PRELOAD": allocator, "OMP_NUM_THREADS": str(args.threads)} if name == "fastapi" else None
            with service(command, port, bodies[0], tuned):
                asyncio.run(ask_all(port, bodies[:32], args.connections))
                seconds, rewards = asyncio.run(ask_all(port, bodies, args.connections))
            speeds[name].append(tokens / seconds)
            difference[name] = max(difference[name], *(abs(a - b) for a, b in zip(rewards, expected, strict=True)))
    print(f"{len(rows)} texts, {tokens / len(rows):.0f} tokens each, {args.connections} connections, {args.pairs} rounds")
    print("| | tokens/s | keel serve / this: median (lowest to highest round) | largest difference from keel score |\n|---|---|---|---|")
    for name, values in speeds.items():
        ratios = sorted(a / b for a, b in zip(speeds["serve"], values, strict=True))
        print(f"| {name} | {statistics.median(values):.0f} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) "
              f"| {difference.get(name, 0):.1e} |")


if __name__ == "__main__":
    main()
