"""LLaMA-Factory's PPO client for a reward model behind its API: reads "scores", checks no status, sends "model" as the model's name."""
import json

import requests

from service import all_agree, expect


def get_rewards_from_server(url, messages, **more):
    headers = {"Content-Type": "application/json"}
    response = requests.post(url, json={"model": "model", "messages": messages, **more}, headers=headers)
    return json.loads(response.text)["scores"]


def check_scores(setup):
    """the scores of a batch, on both paths"""
    texts = [sample.text for sample in setup.samples]
    for path in ("/v1/score/evaluation", "/get_reward", "/rm/combined/get_reward"):
        all_agree(get_rewards_from_server(setup.url + path, texts), [sample.score for sample in setup.samples])


def check_served_model(setup):
    """"model" that names a model which is served"""
    reply = requests.post(f"{setup.url}/v1/score/evaluation", json={"model": "safety", "messages": [setup.turns[0].text]}).json()
    all_agree(reply["scores"], [setup.turns[0].scores["safety"]])


def check_reply(setup):
    """the reply's other fields"""
    reply = requests.post(f"{setup.url}/v1/score/evaluation", json={"model": "model", "messages": [setup.turns[0].text]}).json()
    expect(reply["object"], "score.evaluation", "object")
    assert isinstance(reply["id"], str) and isinstance(reply["model"], str), f"id {reply['id']!r}, model {reply['model']!r}"


def check_empty(setup):
    """no messages"""
    expect(get_rewards_from_server(f"{setup.url}/v1/score/evaluation", []), [], "scores of no text")


def check_max_length(setup):
    """max_length: null and one above every text change nothing"""
    texts = [sample.text for sample in setup.samples]
    for most in (None, 500):
        scores = get_rewards_from_server(f"{setup.url}/v1/score/evaluation", texts, max_length=most)
        all_agree(scores, [sample.score for sample in setup.samples])


def check_max_length_above(setup):
    """max_length above the context: the context is the limit, as in LLaMA-Factory's own server"""
    body = {"model": "model", "messages": [setup.turns[0].text], "max_length": 1000000}
    response = requests.post(f"{setup.url}/v1/score/evaluation", json=body)
    expect(response.status_code, 200, "status")
