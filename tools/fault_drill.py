"""Kills, breaks and races a whole run of five versions, and checks that nothing is lost and nothing wrong is taken for right.

    python3 tools/fault_drill.py [--keel build/keel] [--work DIR] [--kills 20] [--seed 1]

A sandbox run, shrunk to a few minutes, is first left alone. Then the same run is
  1. killed at every point of a commit (KEEL_FAIL_POINT) of every stage;
  2. killed with SIGKILL at random times;
  3. run on a file system that is too small, which must end with code 74 and go on once there is room (needs root: a tmpfs);
  4. damaged by one flipped byte in every finished file, which must be refused by name;
  5. started by two processes at once, of which one must be told that the run is locked.
Whatever ends must end in the digests of the run that was left alone. Prints a line a check; exit code 1 if one failed.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

SMALL = ["llama.hidden_size=32", "llama.intermediate_size=64", "llama.num_hidden_layers=2", "llama.num_attention_heads=2",
         "llama.num_key_value_heads=1", "pretrain.tokens=60000", "sandbox.corpus.documents=3000", "preferences.pairs=200", "preferences.later_pairs=100",
         "preferences.public_pairs=60", "rejection.samples=2", "rejection.sft.steps=10", "sandbox.helpful_prompts=96",
         "sandbox.hazard_prompts=32", "sandbox.lookalike_prompts=32", "sandbox.test_helpful=24", "sandbox.test_hazard=12",
         "sandbox.test_lookalike=12", "best_of.samples=2", "best_of.prompts=8", "evaluation.replicates=200",
         # PPO long and bold enough that held-out prompts like its last weights better than its first: a drill whose PPO changes nothing would
         # not see a checkpoint that is lost.
         "ppo.iterations=24", "ppo.schedule.learning_rate=1e-3", "ppo.kl.coefficient=0.01"]
# Point of a commit: at which passage through it a process is killed, so that every stage is killed there once. The next process passes the
# points up to commit.hashed, and commit.before_rename, with the same stage again.
POINTS = {"stage.started": 2, "commit.begin": 2, "commit.hashed": 2, "commit.manifest": 1, "commit.before_rename": 2,
          "commit.after_rename": 1, "commit.after_current": 1}


class Drill:
    def __init__(self, args):
        self.keel, self.work, self.failures = pathlib.Path(args.keel).resolve(), args.work, 0

    def command(self, out):
        arguments = [str(self.keel), "run", "recipes/sandbox-v5.json", "--out", str(out), "--log-level", "warn"]
        for setting in SMALL:
            arguments += ["--set", setting]
        return arguments

    def run(self, out, **environment):
        return subprocess.run(self.command(out), env={**os.environ, **environment}, capture_output=True, text=True)

    def verify(self, out):
        return subprocess.run([self.keel, "status", out, "--verify"], capture_output=True, text=True)

    def check(self, what, good, detail=""):
        print(f"{'ok  ' if good else 'FAIL'} {what}{': ' + detail if detail and not good else ''}", flush=True)
        self.failures += not good

    def digests(self, out):
        """Content of every stage in use: path -> SHA-256, without what tells the time."""
        found = {}
        for manifest in sorted(out.glob("stages/*/current/manifest.json")):
            record = json.loads(manifest.read_text())
            for output in record["outputs"]:
                name = pathlib.PurePath(output["path"]).name
                if not name.startswith("events.out.tfevents") and name not in ("timings.json", "timings.jsonl") and record["stage"] != "report":
                    found[record["stage"] + "/" + output["path"]] = output["sha256"]
        return found


def kill_at_points(drill, whole, stages):
    """Every stage (but the first, where the second passage counts) is killed once at each point, and then goes on."""
    for point, passage in POINTS.items():
        out = drill.work / "points"
        shutil.rmtree(out, ignore_errors=True)
        kills, code = 0, -signal.SIGKILL
        while code == -signal.SIGKILL and kills <= 2 * stages:
            code = drill.run(out, KEEL_FAIL_POINT=f"{point}:{passage}").returncode
            kills += code == -signal.SIGKILL
        drill.check(f"killed {kills} times at {point}", code == 0 and kills >= stages - 1 and drill.digests(out) == whole,
                    f"code {code}, {kills} kills of {stages} stages")


def kill_at_random(drill, whole, seconds, kills, rng):
    out, done, places = drill.work / "random", 0, collections.Counter()
    shutil.rmtree(out, ignore_errors=True)
    while done < kills or (places["ppo"] == 0 and done < 3 * kills):
        process = subprocess.Popen(drill.command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=rng.uniform(0.3, 2.5 * seconds / kills))
            shutil.rmtree(out)  # it came to its end: begin once more
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done += 1
            places.update(partial.parent.name for partial in out.glob("stages/*/*.partial"))
    last = drill.run(out)
    where = ", ".join(f"{stage} {count}" for stage, count in places.most_common())
    drill.check(f"killed {done} times at random ({where})", places["ppo"] > 0 and last.returncode == 0 and drill.digests(out) == whole, last.stderr[-300:])


def fill_the_disk(drill, whole):
    mount = drill.work / "small"
    mount.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", mount], capture_output=True).returncode != 0:
        drill.check("full disk: NOT CHECKED, a tmpfs cannot be mounted here", False)
        return
    try:
        codes = []
        for megabytes in (6, 14, 30, 400):
            subprocess.run(["mount", "-o", f"remount,size={megabytes}m", mount], check=True)
            codes.append(drill.run(mount / "run").returncode)
        drill.check("full disk: code 74 until there is room, then the same digests", codes[0] == 74 and codes[-1] == 0
                    and set(codes) <= {74, 0} and drill.digests(mount / "run") == whole, f"codes {codes}")
    finally:
        subprocess.run(["umount", mount], check=False)


def flip_bytes(drill, out, rng):
    copy = drill.work / "flipped"
    total, missed = 0, []
    for manifest in sorted(out.glob("stages/*/current/manifest.json")):
        record = json.loads(manifest.read_text())
        for output in record["outputs"]:
            if output["bytes"] == 0:
                continue
            shutil.rmtree(copy, ignore_errors=True)
            subprocess.run(["cp", "-a", "--reflink=auto", out, copy], check=True)
            path = (copy / "stages" / record["stage"] / "current").resolve() / output["path"]
            data = bytearray(path.read_bytes())
            at = rng.randrange(len(data))
            data[at] ^= 1 << rng.randrange(8)
            path.write_bytes(data)
            total += 1
            for answer in (drill.run(copy), drill.verify(copy)):
                if answer.returncode != 3 or pathlib.PurePath(output["path"]).name not in answer.stderr:
                    missed.append(f"{record['stage']}/{output['path']} (code {answer.returncode})")
    drill.check(f"a flipped byte in any of {total} files is refused by name, by run and by status --verify", not missed, ", ".join(missed[:5]))


def race(drill, whole):
    out = drill.work / "race"
    shutil.rmtree(out, ignore_errors=True)
    both = [subprocess.Popen(drill.command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    codes = sorted(process.wait() for process in both)
    drill.check("of two processes one is told that the run is locked", codes == [0, 4] and drill.digests(out) == whole, f"codes {codes}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keel", default="build/keel")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/fault_drill"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    drill = Drill(args)
    args.work.mkdir(parents=True, exist_ok=True)
    out = args.work / "whole"
    shutil.rmtree(out, ignore_errors=True)
    begin = time.monotonic()
    first = drill.run(out)
    seconds = time.monotonic() - begin
    drill.check(f"left alone: {seconds:.0f} s", first.returncode == 0, first.stderr[-500:])
    if first.returncode != 0:
        return 1
    whole, stages = drill.digests(out), len(list(out.glob("stages/*")))
    drill.check("PPO changes the weights", whole["ppo/model.safetensors"] != whole["rs5/model.safetensors"])
    race(drill, whole)
    flip_bytes(drill, out, rng)
    fill_the_disk(drill, whole)
    kill_at_random(drill, whole, seconds, args.kills, rng)
    kill_at_points(drill, whole, stages)
    print(f"{drill.failures} checks failed" if drill.failures else "all checks passed")
    return 1 if drill.failures else 0


if __name__ == "__main__":
    sys.exit(main())
