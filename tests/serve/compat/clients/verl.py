"""verl's reward loop: vLLM's /classify or SGLang's /v1/embeddings, one dialogue a request as text of the chat template without BOS."""
import asyncio

import aiohttp

from service import agree, all_agree, busy, expect, free_port, one_model, serve

ENGINES = {
    "vllm": ("classify", {"use_activation": False}, lambda reply: reply["data"][-1]["probs"][-1]),
    "old vllm": ("classify", {"activation": False}, lambda reply: reply["data"][-1]["probs"][-1]),
    "sglang": ("v1/embeddings", {}, lambda reply: reply["data"][-1]["embedding"][-1]),
}


async def post(url, payload, seen=None, tries=16):
    """Raises 4xx at once; retries the rest after 1, 2, 4 ... 30 seconds. `seen` gets the statuses, 0 where there was no connection."""
    last = None
    for attempt in range(tries):
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
                async with session.post(url, json=payload) as response:
                    if seen is not None:
                        seen.append(response.status)
                    response.raise_for_status()
                    return await response.json()
        except aiohttp.ClientResponseError as problem:
            if 400 <= problem.status < 500:
                raise
            last = problem
        except (aiohttp.ClientError, asyncio.TimeoutError) as problem:
            if seen is not None:
                seen.append(0)
            last = problem
        if attempt < tries - 1:
            await asyncio.sleep(min(2**attempt, 30))
    raise last


async def compute_score(url, text, model, engine="vllm", seen=None, tries=16):
    path, more, read = ENGINES[engine]
    return read(await post(f"{url}/{path}", {"model": model, "input": text, **more}, seen, tries))


def scores_of(setup, samples, engine, model="combined"):
    async def compute():
        return await asyncio.gather(*[compute_score(setup.url, sample.text_without_bos, model, engine) for sample in samples])

    return asyncio.run(compute())


def check_classify(setup):
    """vLLM's /classify: text of the chat template gives the score of the dialogue"""
    all_agree(scores_of(setup, setup.samples, "vllm"), [sample.score for sample in setup.samples])


def check_classify_before(setup):
    """vLLM's /classify with the former name activation"""
    all_agree(scores_of(setup, setup.samples, "old vllm"), [sample.score for sample in setup.samples])


def check_embeddings(setup):
    """SGLang's /v1/embeddings: text of the chat template gives the score of the dialogue"""
    all_agree(scores_of(setup, setup.samples, "sglang"), [sample.score for sample in setup.samples])


def check_plain_text(setup):
    """text without special tokens, all engines and models"""
    for engine in ENGINES:
        for model, score in setup.plain_scores.items():
            agree(asyncio.run(compute_score(setup.url, setup.plain, model, engine)), score)


def check_many(setup):
    """128 requests at once"""
    async def compute():
        return await asyncio.gather(*[compute_score(setup.url, setup.plain, "safety") for _ in range(128)])

    all_agree(asyncio.run(compute()), [setup.plain_scores["safety"]] * 128)


def check_model_path(setup):
    """the model's name is a path, as verl sends it"""
    name = "/models/reward-model"
    with serve(setup.keel, *one_model(name, setup.folders["safety"])) as url:
        agree(asyncio.run(compute_score(url, setup.plain, name)), setup.plain_scores["safety"])


def check_client_error(setup):
    """4xx ends the run after one try"""
    seen = []
    try:
        asyncio.run(compute_score(setup.url, setup.plain, "no-such-model", seen=seen))
    except aiohttp.ClientResponseError as problem:
        expect(problem.status, 404, "status for an unknown model")
    expect(seen, [404], "statuses of the tries")


def check_late_server(setup):
    """retries until the service is there"""
    port, seen = free_port(), []

    async def compute():
        asking = asyncio.create_task(compute_score(f"http://127.0.0.1:{port}", setup.plain, "helpfulness", seen=seen, tries=4))
        await asyncio.sleep(0.5)
        with serve(setup.keel, *setup.helpfulness, port=port):
            return await asking

    agree(asyncio.run(compute()), setup.plain_scores["helpfulness"])
    assert seen[0] == 0 and seen[-1] == 200, f"statuses of the tries: {seen}"


def check_busy_server(setup):
    """503 while the queue is full, on both engines' paths, and a score after it"""
    for engine in ("vllm", "sglang"):
        seen = []
        with busy(setup) as url:
            score = asyncio.run(compute_score(url, setup.plain, "helpfulness", engine, seen, tries=4))
        agree(score, setup.plain_scores["helpfulness"])
        expect(seen[0], 503, "status of the first try")
