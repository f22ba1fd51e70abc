"""Overloads, cuts off, reloads and stops keel serve, and checks that no score is wrong, no request is lost and no memory is kept.

    python3 tools/serve_drill.py --model RM --other RM2 [--keel build/release/keel] [--seconds 60] [--idle 3000] [--soak MINUTES]

RM and RM2: two reward models with one tokenizer and chat format (e.g. helpfulness and safety of a run).
  1. Storm: ten times as many texts as can be scored, clients that leave half-way, bodies that come byte by byte, idle connections. Every score
     is the one of a calm service, /livez says 200 throughout, accepted = answered + disconnected, and memory is back within 10 %.
  2. Reload every 100 ms under load: every score is one of the two models'.
  3. SIGTERM in a storm: every reply that comes is whole, and the service ends with 0.
  4. Soak (with --soak): steady load near capacity; memory at a quarter of the time and at the end.
Prints a line a check; exit code 1 if one failed.
"""
import argparse
import asyncio
import collections
import contextlib
import json
import os
import pathlib
import random
import resource
import signal
import socket
import subprocess
import tempfile
import time

TEXTS = [f"tell me about harbour {i} and its {'boats ' * (i % 23)}" for i in range(256)]


def inputs(indices):
    return [{"prompt": TEXTS[i], "response": "it has " + "blue " * (i % 11) + "boats."} for i in indices]


def post(path, body, host="drill"):
    content = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n").encode() + content


class Service:
    """A running keel serve."""

    def __init__(self, args, folder, *more):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen([args.keel, "serve", "--reward", f"rm={folder}", "--bind", f"127.0.0.1:{self.port}",
                                         "--deterministic", "--log-level", "error", *more])

    async def ask(self, request):
        """(status, body) of a request sent whole; (0, b"") where the connection ends without a reply, (-1, b"") within one."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return 0, b""
        try:
            writer.write(request)
            reply = await reader.read()
            if not reply:
                return 0, b""
            head, _, body = reply.partition(b"\r\n\r\n")
            length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), -1)
            return (int(head.split()[1]), body) if len(body) == length else (-1, b"")
        except OSError:
            return 0, b""
        finally:
            writer.close()

    async def get(self, path):
        return await self.ask(f"GET {path} HTTP/1.1\r\nHost: drill\r\nConnection: close\r\n\r\n".encode())

    async def ready(self):
        while (await self.get("/readyz"))[0] != 200:
            assert self.process.poll() is None, "keel serve has ended"
            await asyncio.sleep(0.05)

    async def scores(self, indices):
        """Scores of the texts with these indices, or None where the service refuses."""
        status, body = await self.ask(post("/v1/reward", {"inputs": inputs(indices)}))
        return (status, [row["score"] for row in json.loads(body)["data"]] if status == 200 else None)

    async def metrics(self):
        lines = (await self.get("/metrics"))[1].decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def memory(self):
        """MB that it holds now."""
        pages = int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    def end(self):
        self.process.terminate()
        return self.process.wait()


class Storm:
    """Clients of all kinds, until stop is set."""

    def __init__(self, service, expected, rng):
        self.service, self.expected, self.rng, self.stop = service, expected, rng, False
        self.statuses, self.wrong = collections.Counter(), 0

    async def greedy(self):
        while not self.stop:
            indices = self.rng.choices(range(len(TEXTS)), k=self.rng.choice([1, 1, 8, 64, 256]))
            status, scores = await self.service.scores(indices)
            self.statuses[status] += 1
            if scores is not None:
                self.wrong += any(score not in self.expected[i] for i, score in zip(indices, scores, strict=True))
            elif status != 200:
                await asyncio.sleep(0.05)

    async def leaver(self):
        while not self.stop:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
                request = post("/v1/reward", {"inputs": inputs(range(64))})
                writer.write(request[:self.rng.choice([len(request), self.rng.randrange(1, len(request))])])
                await writer.drain()
                await asyncio.sleep(self.rng.random() * 0.2)
                writer.transport.abort()
            self.statuses["left"] += 1

    async def slow(self):
        while not self.stop:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.service.port)
                request = post("/v1/reward", {"inputs": inputs([3])})
                for begin in range(0, len(request), 16):
                    writer.write(request[begin:begin + 16])
                    await writer.drain()
                    await asyncio.sleep(0.1)
                head = (await reader.read()).split()
                self.statuses[f"slow {head[1].decode() if len(head) > 1 else 'cut off'}"] += 1
                writer.close()

    def all_answered(self):
        return self.statuses[200] > 0 and not any(self.statuses[kind] for kind in (0, -1, "slow cut off"))

    def start(self):
        return [asyncio.create_task(work()) for work, count in ((self.greedy, 120), (self.leaver, 20), (self.slow, 20)) for _ in range(count)]


def check(name, good, what):
    print(f"{'ok    ' if good else 'FAILED'} {name}: {what}", flush=True)
    return good


async def calm_scores(args, folder):
    """Each text's score, asked for alone."""
    service = Service(args, folder)
    await service.ready()
    found = [(await service.scores([i]))[1][0] for i in range(len(TEXTS))]
    service.end()
    return found


async def storm(args, first, rng):
    service = Service(args, args.model)
    await service.ready()
    clients = Storm(service, [{score} for score in first], rng)
    warm = clients.start()  # the buffers of a busy service are no leak
    await asyncio.sleep(5)
    clients.stop = True
    await asyncio.gather(*warm)
    await asyncio.sleep(8)
    before = service.memory()
    idle = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(args.idle)]
    clients.stop, live, longest = False, collections.Counter(), 0.0
    tasks, end = clients.start(), time.monotonic() + args.seconds
    while time.monotonic() < end:
        begin = time.monotonic()
        live[(await service.get("/livez"))[0]] += 1
        longest = max(longest, time.monotonic() - begin)
        await asyncio.sleep(0.2)
    peak, clients.stop = service.memory(), True
    await asyncio.gather(*tasks)
    for _, writer in idle:
        writer.close()
    for _ in range(100):
        metrics = await service.metrics()
        if metrics["keel_serve_queue_sequences"] == 0:
            break
        await asyncio.sleep(0.2)
    await asyncio.sleep(8)  # a quiet service gives memory back
    metrics, after = await service.metrics(), service.memory()
    accepted, answered, left = (int(metrics[f"keel_serve_{name}_total"]) for name in ("accepted", "answered", "disconnected"))
    good = [check("storm: every request is answered, some with 503", clients.all_answered() and clients.statuses[503] > 0, dict(clients.statuses)),
            check("storm: wrong scores", clients.wrong == 0, clients.wrong),
            check("storm: /livez", set(live) == {200}, f"{dict(live)}, longest {longest:.2f} s"),
            # The request for the metrics itself is accepted, and not answered yet.
            check("storm: accepted = answered + disconnected", accepted == answered + left + 1, f"{accepted} = {answered} + {left} + 1"),
            check("storm: memory", after <= 1.1 * before, f"{before:.0f} MB before, {peak:.0f} at its end, {after:.0f} after"),
            check("storm: exit code", (code := service.end()) == 0, code)]
    return all(good)


async def reload(args, first, second, rng):
    with tempfile.TemporaryDirectory() as folder:
        link = pathlib.Path(folder, "current")

        def point_at(model):
            os.symlink(pathlib.Path(model).resolve(), pathlib.Path(folder, "next"))
            os.replace(pathlib.Path(folder, "next"), link)

        point_at(args.model)
        service = Service(args, link)
        await service.ready()
        clients, seen = Storm(service, [{a, b} for a, b in zip(first, second, strict=True)], rng), collections.Counter()
        tasks = [asyncio.create_task(clients.greedy()) for _ in range(8)]
        for turn in range(int(args.seconds / 3 * 10)):
            point_at((args.other, args.model)[turn % 2])
            service.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.1)
            score = (await service.scores([5]))[1]
            seen["refused" if score is None else "first" if score[0] == first[5] else "second" if score[0] == second[5] else "neither"] += 1
        clients.stop = True
        await asyncio.gather(*tasks)
        done = (await service.metrics()).get('keel_serve_reloads_total{result="done"}', 0)
        return all([check("reload: scores of neither model", clients.wrong == 0 and seen["neither"] == 0 and clients.all_answered(),
                          f"{clients.wrong}; {dict(clients.statuses)}"),
                    check("reload: both models answered", seen["first"] > 0 and seen["second"] > 0, f"{dict(seen)} in {done:.0f} reloads"),
                    check("reload: exit code", (code := service.end()) == 0, code)])


async def stop(args, first, rng):
    service = Service(args, args.model)
    await service.ready()
    clients = Storm(service, [{score} for score in first], rng)
    tasks = clients.start()
    await asyncio.sleep(3)
    service.process.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    while service.process.poll() is None and time.monotonic() < begin + 60:
        await asyncio.sleep(0.05)
    clients.stop = True
    await asyncio.gather(*tasks)
    return all([check("SIGTERM: exit code", service.process.returncode == 0,
                      f"{service.process.returncode} after {time.monotonic() - begin:.1f} s"),
                check("SIGTERM: no wrong score, no reply cut off, slow bodies answered",
                      clients.wrong == 0 and clients.statuses[-1] == 0 and clients.statuses["slow 200"] > 0, dict(clients.statuses))])


async def soak(args, first, rng):
    service = Service(args, args.model)
    await service.ready()
    clients = Storm(service, [{score} for score in first], rng)
    tasks, held = [asyncio.create_task(clients.greedy()) for _ in range(16)], []
    for _ in range(int(args.soak * 60)):
        await asyncio.sleep(1)
        held.append(service.memory())
    clients.stop = True
    await asyncio.gather(*tasks)
    early, late = held[len(held) // 4], max(held[-len(held) // 10:])
    return all([check("soak: memory", late <= 1.05 * early, f"{early:.0f} MB at a quarter, at most {late:.0f} MB in the last tenth"),
                check("soak: every request is answered, with the right score", clients.wrong == 0 and clients.all_answered(),
                      f"{clients.wrong}; {dict(clients.statuses)}"),
                check("soak: exit code", (code := service.end()) == 0, code)])


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--other", required=True)
    parser.add_argument("--keel", default=pathlib.Path(__file__).resolve().parents[1] / "build/release/keel")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--idle", type=int, default=3000)
    parser.add_argument("--soak", type=float, default=0, help="minutes; alone, without the other parts")
    args = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65536), most))
    rng = random.Random(1)
    first = await calm_scores(args, args.model)
    if args.soak > 0:
        return 0 if await soak(args, first, rng) else 1
    second = await calm_scores(args, args.other)
    good = [await storm(args, first, rng), await reload(args, first, second, rng), await stop(args, first, rng)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
