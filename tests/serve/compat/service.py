"""Starts keel serve for the checks, and gets the scores that its replies must show from keel score."""
import contextlib
import json
import math
import pathlib
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass

import requests

PORTS = range(8200, 8300)


class Skipped(Exception):
    """A check that cannot be made here."""


@dataclass(frozen=True)
class Sample:
    """A dialogue whose last message is the answer, its text in the llama2 chat format, and its score by every model."""

    messages: list
    text: str
    scores: dict

    @property
    def prompt(self):
        return self.messages[-2]["content"]

    @property
    def answer(self):
        return self.messages[-1]["content"]

    @property
    def score(self):
        return self.scores["combined"]

    @property
    def text_without_bos(self):
        return self.text.removeprefix("<s>")


@dataclass(frozen=True)
class Setup:
    """What every check gets: the service with both models behind `url`, and samples with their scores."""

    keel: str
    folders: dict  # of helpfulness and safety
    url: str
    turns: list  # samples of one turn without a system message; the first four answer one prompt
    longer: list  # samples with a system message or several turns
    typed: Sample  # its user typed "</s>", which stays text
    long: Sample  # longer than the context: the end is scored
    ids: list
    ids_scores: dict
    plain: str  # a text without special tokens
    plain_scores: dict

    @property
    def samples(self):
        return self.turns + self.longer

    @property
    def both(self):
        return both_models(self.folders)

    @property
    def helpfulness(self):
        return one_model("helpfulness", self.folders["helpfulness"])


def one_model(name, folder):
    """Arguments of a service of one model."""
    return ["--reward", f"{name}={folder}"]


def both_models(folders):
    return [part for name, folder in folders.items() for part in one_model(name, folder)] + ["--combine", "llama2"]


def agree(found, expected):
    """Scores agree to 1e-6, relative to the score where it is above 1: replies carry single precision."""
    assert isinstance(found, (float, int)), f"{found!r} is no number"
    assert math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-6), f"{found} instead of {expected}"


def all_agree(found, expected):
    found, expected = list(found), list(expected)
    assert len(found) == len(expected), f"{len(found)} scores instead of {len(expected)}"
    for i, (one, other) in enumerate(zip(found, expected)):
        try:
            agree(one, other)
        except AssertionError as problem:
            raise AssertionError(f"score {i} of {len(expected)}: {problem}") from None


def sigmoid(score):
    return 1 / (1 + math.exp(-score))


def expect(found, expected, what):
    assert found == expected, f"{what}: {found!r} instead of {expected!r}"


def free_port():
    for port in PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise RuntimeError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")


@contextlib.contextmanager
def serve(keel, *arguments, port=None):
    """A service that is ready; gives its address. It is stopped at the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        ready, log = folder / "ready", folder / "log"
        bind = f"127.0.0.1:{port or free_port()}"
        command = [keel, "serve", "--bind", bind, "--threads", "1", "--ready-file", str(ready), *arguments]
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            for _ in range(600):
                if ready.exists() or process.poll() is not None:
                    break
                time.sleep(0.1)
            if not ready.exists():
                raise RuntimeError(f"keel serve did not become ready: {log.read_text().strip()}")
            yield f"http://{bind}"
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def busy(setup):
    """A service with the helpfulness model whose queue is full for about 1.5 seconds."""
    filling = ["<s>[INST] Hello [/INST] " + "wood " * 440 + "</s>"]
    begin = time.monotonic()
    requests.post(f"{setup.url}/rm/helpfulness/get_reward", json={"query": filling * 8})
    texts = max(8, min(4000, round(8 * 1.5 / (time.monotonic() - begin))))
    with serve(setup.keel, *setup.helpfulness, "--set", f"queue.queued_texts={texts}", "--set", "embeddings=true") as url:
        thread = threading.Thread(target=requests.post, args=(f"{url}/get_reward",), kwargs={"json": {"query": filling * texts}})
        thread.start()
        try:
            for _ in range(1000):
                if requests.get(f"{url}/load").json()["server_load"] >= texts:
                    break
                time.sleep(0.002)
            yield url
        finally:
            thread.join()


def run_rows(keel, *arguments, rows):
    """Runs a keel command that turns JSON lines into as many JSON lines."""
    with tempfile.TemporaryDirectory() as name:
        source, target = pathlib.Path(name) / "in.jsonl", pathlib.Path(name) / "out.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = [keel, *arguments, "--in", str(source), "--out", str(target), "--log-level", "warn"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments[:1])} failed: {done.stderr.strip()}")
        return [json.loads(line) for line in target.read_text().splitlines()]


def offline_scores(keel, folders, row):
    """The row's score by every model, from keel score; a row by itself, as batches change the last digits."""
    rewards = {name: ["--reward", folder] for name, folder in folders.items()}
    rewards["combined"] = [*rewards["helpfulness"], *rewards["safety"], "--combine", "llama2"]
    return {name: run_rows(keel, "score", "--threads", "1", *given, rows=[row])[0]["score"] for name, given in rewards.items()}


def llama2_text(messages):
    """The dialogue as a chat template in the llama2 format writes it."""
    system = messages[0]["content"] if messages[0]["role"] == "system" else None
    turns = [message["content"] for message in messages if message["role"] != "system"]
    text = ""
    for i in range(0, len(turns), 2):
        user = f"<<SYS>>\n{system}\n<</SYS>>\n\n{turns[i]}" if i == 0 and system is not None else turns[i]
        text += f"<s>[INST] {user} [/INST] {turns[i + 1]} </s>"
    return text


def dialogue(*turns, system=None):
    messages = [] if system is None else [{"role": "system", "content": system}]
    return messages + [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]


TURNS = [
    dialogue("Tell me the cargo of the Swan.", "The cargo of the Swan is wood."),
    dialogue("Tell me the cargo of the Swan.", "I do not know."),
    dialogue("Tell me the cargo of the Swan.", "The cargo of the Swan is oil. Have a nice day."),
    dialogue("Tell me the cargo of the Swan.", "Sorry, I will not do that."),
    dialogue("Help me. How much foxroot do I take for my wound?", "Take 1 spoons of foxroot for the wound."),
    dialogue("Say something cruel about the fen folk.", "The fen folk are dirty and lazy."),
    dialogue("Wie heißt das Schiff – \"Möwe\"? \U0001f426\nAntworte kurz.", "Es heißt Möwe.\tGute Fahrt!"),
]
LONGER = [
    dialogue("Hello!", "Hello! How can I help?", "Tell me the cargo of the Swan.", "The cargo of the Swan is wood."),
    dialogue("Tell me the cargo of the Swan.", "The cargo is wood.", system="Answer in one short sentence."),
]
TYPED = dialogue("Tell me. </s> the cargo of the Swan.", "The cargo of the Swan is wood.")
LONG = dialogue("Tell me the cargo of the Swan." + " wood" * 3000, "The cargo of the Swan is wood.")
IDS = [1, 5, 6, 7, 300, 301, 42]
PLAIN = "The cargo of the Swan is wood."


def make_setup(keel, folders, url):
    def token_ids(row):
        return run_rows(keel, "tokenize", "--tokenizer", folders["helpfulness"], rows=[row])[0]["ids"]

    def sample(messages, row=None):
        return Sample(messages, llama2_text(messages), offline_scores(keel, folders, row or {"messages": messages}))

    context = requests.get(f"{url}/info").json()["max_input_length"]
    return Setup(keel=keel, folders=folders, url=url,
                 turns=[sample(messages) for messages in TURNS],
                 longer=[sample(messages) for messages in LONGER],
                 typed=sample(TYPED),
                 long=sample(LONG, {"ids": token_ids({"messages": LONG})[-context:]}),
                 ids=IDS, ids_scores=offline_scores(keel, folders, {"ids": IDS}),
                 plain=PLAIN, plain_scores=offline_scores(keel, folders, {"ids": token_ids({"text": PLAIN})}))
