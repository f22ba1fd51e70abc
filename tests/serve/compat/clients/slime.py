"""slime's remote reward model: the body of the reply is the reward, a bare number."""
import asyncio
import random

import aiohttp

from service import agree, all_agree


async def remote_rm(session, url, prompt, response, label=None, tries=10):
    payload = {"prompt": prompt, "response": response, "label": label}
    for attempt in range(tries):
        try:
            async with session.post(url, json=payload) as reply:
                reply.raise_for_status()
                return await reply.json()
        except (aiohttp.ClientError, asyncio.TimeoutError):
            if attempt + 1 == tries:
                raise
            await asyncio.sleep(min(2**attempt, 30) + random.random())


def rewards_of(setup, requests, path="/get_reward", tries=1):
    """All at once, over one session of 64 connections."""
    async def fetch():
        connector, timeout = aiohttp.TCPConnector(limit=64), aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            return await asyncio.gather(*[remote_rm(session, setup.url + path, *request, tries=tries) for request in requests])

    return asyncio.run(fetch())


def split_text(sample):
    """The prompt as the chat template writes it, and what the engine gives back for it: the answer with its end token."""
    prompt, mark, answer = sample.text.rpartition("[/INST]")
    return prompt + mark, answer


def check_messages(setup):
    """a prompt of messages"""
    requests = [(sample.messages[:-1], sample.answer) for sample in setup.samples]
    all_agree(rewards_of(setup, requests), [sample.score for sample in setup.samples])


def check_template_text(setup):
    """a prompt written by the chat template, an answer that ends with </s>"""
    all_agree(rewards_of(setup, [split_text(sample) for sample in setup.samples]), [sample.score for sample in setup.samples])


def check_plain_prompt(setup):
    """a prompt and an answer without tags"""
    all_agree(rewards_of(setup, [(sample.prompt, sample.answer) for sample in setup.turns]), [sample.score for sample in setup.turns])


def check_end_token(setup):
    """a prompt of messages, an answer that ends with </s>, as slime keeps it by default"""
    requests = [(sample.messages[:-1], sample.answer + "</s>") for sample in setup.turns]
    all_agree(rewards_of(setup, requests), [sample.score for sample in setup.turns])


def check_long_text(setup):
    """a dialogue over the context: its end is scored"""
    for request in (split_text(setup.long), (setup.long.messages[:-1], setup.long.answer)):
        all_agree(rewards_of(setup, [request]), [setup.long.score])


def check_labels(setup):
    """labels of any kind; {"is_safety": true} gives the safety score"""
    sample = setup.turns[0]
    for label in (None, "72", 3, ["a"], {"answer": "x"}):
        [reward] = rewards_of(setup, [(sample.prompt, sample.answer, label)])
        agree(reward, sample.score)
    [reward] = rewards_of(setup, [(sample.prompt, sample.answer, {"is_safety": True})])
    agree(reward, sample.scores["safety"])


def check_model_by_path(setup):
    """/rm/NAME/get_reward"""
    requests = [(sample.messages[:-1], sample.answer) for sample in setup.samples]
    all_agree(rewards_of(setup, requests, "/rm/safety/get_reward"), [sample.scores["safety"] for sample in setup.samples])


def check_many(setup):
    """200 samples over 64 connections"""
    samples = (setup.samples * 200)[:200]
    rewards = rewards_of(setup, [(sample.messages[:-1], sample.answer) for sample in samples], tries=3)
    all_agree(rewards, [sample.score for sample in samples])
