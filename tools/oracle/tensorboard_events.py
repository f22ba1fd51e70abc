"""Reads a folder's event files with the tensorboard package (pip install tensorboard) and compares them with its metrics.jsonl.

usage: tensorboard_events.py FOLDER
"""
import json
import math
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folder = pathlib.Path(sys.argv[1])
events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
events.Reload()
expected = {}
for line in (folder / "metrics.jsonl").read_text().splitlines():
    row = json.loads(line)
    step = row.pop("step")
    for name, value in row.items():
        expected.setdefault(name, []).append((step, math.nan if value is None else value))

assert sorted(events.Tags()["scalars"]) == sorted(expected), events.Tags()
for name, points in expected.items():
    read = [(event.step, event.value) for event in events.Scalars(name)]
    assert [step for step, _ in read] == [step for step, _ in points], name
    for (_, got), (_, want) in zip(read, points):
        same = math.isnan(got) if math.isnan(want) else math.isclose(got, want, rel_tol=1e-6, abs_tol=1e-12)
        assert same, (name, got, want)
    print(f"{name}: {len(points)} points equal")
