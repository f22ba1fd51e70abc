"""API keys as clients can send them: Bearer, X-Api-Key, and user info in the URL where a client takes nothing but a URL."""
import asyncio
import contextlib
import pathlib
import tempfile
import urllib.parse

import aiohttp
import requests

from clients import openrlhf
from service import agree, all_agree, expect, serve

KEYS = ["first-key-0123456789", "second/key+with:signs@%"]
POSTS = ["/get_reward", "/rm/safety/get_reward", "/v1/score/evaluation", "/v1/reward", "/v1/logprobs", "/classify", "/v1/classify",
         "/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank", "/pooling", "/v1/embeddings", "/predict", "/invocations", "/", "/tokenize", "/rm/safety", "/rm/safety/", "//predict"]
GETS = ["/", "/metrics", "/info", "/version", "/load", "/v1/models", "/v1/models/safety", "/rm/safety/info", "/rm/safety/health", "/openapi.json",
        "/nowhere", "//metrics", "/metrics/"]


@contextlib.contextmanager
def guarded(setup):
    with tempfile.TemporaryDirectory() as folder:
        keys = pathlib.Path(folder) / "keys"
        keys.write_text("# keys of this test\n" + "\n".join(KEYS) + "\n")
        with serve(setup.keel, *setup.both, "--keys", str(keys), "--set", "embeddings=true") as url:
            yield url


def with_user(url, key):
    return url.replace("http://", f"http://rm:{urllib.parse.quote(key, safe='')}@")


def check_headers(setup):
    """Bearer and X-Api-Key, every key of the file"""
    sample = setup.turns[0]
    with guarded(setup) as url:
        for key in KEYS:
            for headers in ({"Authorization": f"Bearer {key}"}, {"authorization": f"bearer {key}"}, {"X-Api-Key": key}):
                response = requests.post(f"{url}/get_reward", json={"query": [sample.text]}, headers=headers)
                expect(response.status_code, 200, f"status with {list(headers)[0]}")
                agree(response.json()["rewards"][0], sample.score)


def check_gateway(setup):
    """a right key beside one that is none of keel's, as a gateway adds its own"""
    with guarded(setup) as url:
        for headers in ({"X-Api-Key": "of-the-gateway-0123", "Authorization": f"Bearer {KEYS[0]}"},
                        {"X-Api-Key": KEYS[0], "Authorization": "Bearer of-the-gateway-0123"}):
            expect(requests.get(f"{url}/v1/models", headers=headers).status_code, 200, "status")


def check_user_info_requests(setup):
    """user info in the URL, by requests"""
    sample = setup.turns[0]
    with guarded(setup) as url:
        for key in KEYS:
            all_agree(openrlhf.fetch_rollout(with_user(url, key) + "/get_reward", [sample]), [sample.score])


def check_user_info_aiohttp(setup):
    """user info in the URL, by aiohttp as OpenRLHF uses it"""
    sample = setup.turns[0]
    with guarded(setup) as url:
        for key in KEYS:
            agree(openrlhf.fetch_one(with_user(url, key), sample)["rewards"][0], sample.score)


def check_basic_aiohttp(setup):
    """aiohttp's BasicAuth, any user name"""
    sample = setup.turns[0]

    async def fetch(url, user):
        async with aiohttp.ClientSession(auth=aiohttp.BasicAuth(user, KEYS[0])) as session:
            async with session.post(f"{url}/get_reward", json={"query": [sample.text]}) as response:
                return response.status

    with guarded(setup) as url:
        for user in ("rm", "", "somebody"):
            expect(asyncio.run(fetch(url, user)), 200, f"status for user {user!r}")


def check_every_path(setup):
    """no path answers without a key or with a wrong one, but the health checks"""
    wrong = [{}, {"Authorization": "Bearer wrong-key-0123456789"}, {"X-Api-Key": KEYS[0][:-1]}, {"Authorization": "Basic !!"}]
    with guarded(setup) as url:
        for headers in wrong:
            for path in POSTS:
                expect(requests.post(url + path, json={"query": ["x"]}, headers=headers).status_code, 401, f"POST {path}")
            for path in GETS:
                expect(requests.get(url + path, headers=headers).status_code, 401, f"GET {path}")
        for path in ("/health", "/ping", "/livez", "/readyz"):
            expect(requests.get(url + path).status_code, 200, f"GET {path}")


def check_refusal(setup):
    """401 as each dialect has it"""
    with guarded(setup) as url:
        response = requests.post(f"{url}/get_reward", json={"query": []})
        assert "WWW-Authenticate" in response.headers and "error" in response.json(), f"{response.headers} {response.text}"
        expect(requests.post(f"{url}/classify", json={"input": "x"}).json(), {"error": "Unauthorized"}, "body for vLLM")
        expect(requests.post(f"{url}/predict", json={"inputs": "x"}).text, "", "body for TEI")
