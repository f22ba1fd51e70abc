"""OpenRLHF's remote reward: one sample a request on a fresh connection (0.10 on), or a whole rollout in one call (to 0.9)."""
import asyncio
import itertools

import aiohttp
import requests

from service import agree, all_agree, busy, expect, free_port, serve, sigmoid


async def post(url, data, seen=None, tries=5):
    """Any failure is retried after a second; `seen` gets the statuses, 0 where there was no connection."""
    for _ in range(tries):
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=180)) as session:
                async with session.post(url, json=data) as response:
                    if seen is not None:
                        seen.append(response.status)
                    response.raise_for_status()
                    return await response.json()
        except aiohttp.ClientResponseError:
            pass
        except (aiohttp.ClientError, asyncio.TimeoutError):
            if seen is not None:
                seen.append(0)
        await asyncio.sleep(1)
    raise RuntimeError(f"no reward after {tries} tries")


async def fetch_rewards(urls, queries, prompts, labels):
    """The queries are cut into as many pieces as there are servers; with one query all servers but the first get none."""
    size = -(-len(queries) // len(urls))
    cuts = [slice(i * size, (i + 1) * size) for i in range(len(urls))]
    return await asyncio.gather(*[
        post(url, {"query": queries[cut], "prompts": prompts[cut], "labels": labels[cut]}) for url, cut in zip(urls, cuts)])


def fetch_one(url, sample, label=None):
    [reply] = asyncio.run(fetch_rewards([f"{url}/get_reward"], [sample.text], [sample.prompt], [label]))
    return reply


def fetch_rollout(url, samples, **more):
    """To 0.9: one call, without the prompts to 0.5."""
    response = requests.post(url, json={"query": [sample.text for sample in samples], **more}, timeout=180)
    response.raise_for_status()
    return response.json()["rewards"]


def check_single(setup):
    """one sample a request"""
    for sample in setup.samples:
        reply = fetch_one(setup.url, sample)
        all_agree(reply["rewards"], [sample.score])
        all_agree(reply["scores"], [sigmoid(sample.score)])


def check_space_after_bos(setup):
    """text decoded with a space after <s>"""
    for sample in setup.turns:
        [reply] = asyncio.run(fetch_rewards([f"{setup.url}/get_reward"], ["<s> " + sample.text_without_bos], [sample.prompt], [""]))
        all_agree(reply["rewards"], [sample.score])


def check_hundreds(setup):
    """300 samples at once, each on its own connection"""
    samples = list(itertools.islice(itertools.cycle(setup.samples), 300))

    async def fetch():
        return await asyncio.gather(*[
            fetch_rewards([f"{setup.url}/get_reward"], [sample.text], [sample.prompt], ["label"]) for sample in samples])

    all_agree([replies[0]["rewards"][0] for replies in asyncio.run(fetch())], [sample.score for sample in samples])


def check_two_servers(setup):
    """two reward URLs: the second gets an empty list"""
    sample = setup.turns[0]
    urls = [f"{setup.url}/get_reward", f"{setup.url}/rm/safety/get_reward"]
    first, second = asyncio.run(fetch_rewards(urls, [sample.text], [sample.prompt], [None]))
    all_agree(first["rewards"], [sample.score])
    expect((second["rewards"], second["scores"]), ([], []), "rewards and scores of no text")


def check_thousand(setup):
    """a thousand texts in one call"""
    samples = list(itertools.islice(itertools.cycle(setup.samples), 1000))
    prompts = [sample.prompt for sample in samples]
    rewards = fetch_rollout(f"{setup.url}/get_reward", samples, prompts=prompts, labels=[""] * len(samples))
    all_agree(rewards, [sample.score for sample in samples])


def check_old_request(setup):
    """a call without prompts and labels (0.5 and before)"""
    all_agree(fetch_rollout(f"{setup.url}/get_reward", setup.samples), [sample.score for sample in setup.samples])


def check_extra_logs(setup):
    """extra_logs: the same keys on every call, a number for every text"""
    for path in ("/get_reward", "/rm/helpfulness/get_reward"):
        names = None
        for samples, labels in ((setup.turns, None), (setup.turns[:1], [{"is_safety": True}]), ([], []), (setup.longer, ["a", 1])):
            query = [sample.text for sample in samples]
            logs = requests.post(setup.url + path, json={"query": query, "labels": labels}).json()["extra_logs"]
            names = sorted(logs) if names is None else names
            expect(sorted(logs), names, f"keys on {path}")
            for name, values in logs.items():
                expect(len(values), len(query), f"values of {name}")
                assert all(isinstance(value, float) for value in values), f"{name} holds {values}"


def check_models_in_extra_logs(setup):
    """extra_logs hold the scores of both models"""
    logs = requests.post(f"{setup.url}/get_reward", json={"query": [sample.text for sample in setup.samples]}).json()["extra_logs"]
    for name in ("helpfulness", "safety"):
        all_agree(logs[name], [sample.scores[name] for sample in setup.samples])


def check_safety_label(setup):
    """the label {"is_safety": true} gives the safety score"""
    for sample in setup.samples:
        agree(fetch_one(setup.url, sample, {"is_safety": True})["rewards"][0], sample.scores["safety"])
        agree(fetch_one(setup.url, sample, {"is_safety": False})["rewards"][0], sample.score)


def check_long_text(setup):
    """a text over the context: its end is scored"""
    agree(fetch_one(setup.url, setup.long)["rewards"][0], setup.long.score)


def check_free_labels(setup):
    """labels of any kind"""
    sample = setup.turns[0]
    for label in (None, "", "72", 7, 0.5, True, [1, [2]], {"answer": {"value": [1]}}, {"is_safety": "yes"}):
        agree(fetch_one(setup.url, sample, label)["rewards"][0], sample.score)


def check_model_by_path(setup):
    """/rm/NAME/get_reward"""
    for name in ("helpfulness", "safety"):
        rewards = fetch_rollout(f"{setup.url}/rm/{name}/get_reward", setup.samples)
        all_agree(rewards, [sample.scores[name] for sample in setup.samples])


def check_late_server(setup):
    """retries until the service is there"""
    port, seen, sample = free_port(), [], setup.turns[0]

    async def fetch():
        asking = asyncio.create_task(post(f"http://127.0.0.1:{port}/get_reward", {"query": [sample.text]}, seen))
        await asyncio.sleep(0.5)
        with serve(setup.keel, *setup.both, port=port):
            return await asking

    agree(asyncio.run(fetch())["rewards"][0], sample.score)
    assert seen[0] == 0 and seen[-1] == 200, f"statuses of the tries: {seen}"


def check_busy_server(setup):
    """retries while the queue is full"""
    sample, seen = setup.turns[0], []
    with busy(setup) as url:
        reply = asyncio.run(post(f"{url}/get_reward", {"query": [sample.text]}, seen))
    agree(reply["rewards"][0], sample.scores["helpfulness"])
    expect(seen[0], 503, "status of the first try")


def check_larger_than_queue(setup):
    """a call with more texts than the queue takes, when nothing else waits"""
    samples = setup.turns[:5]
    with serve(setup.keel, *setup.both, "--set", "queue.queued_texts=3") as url:
        all_agree(fetch_rollout(f"{url}/get_reward", samples), [sample.score for sample in samples])


def check_queue_is_given_back(setup):
    """more texts in turn than the queue takes at once"""
    with serve(setup.keel, *setup.both, "--set", "queue.queued_texts=20") as url:
        for _ in range(5):
            fetch_rollout(f"{url}/get_reward", setup.turns)
