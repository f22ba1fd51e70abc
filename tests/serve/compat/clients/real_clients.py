"""Published clients from PyPI: openai, huggingface_hub, cohere, tei-client, and OpenRLHF's executor. Those not installed are skipped."""
import asyncio
import importlib
import importlib.metadata
import importlib.util
import pathlib
import sys
import types

from clients.auth import KEYS, guarded
from service import Skipped, agree, all_agree, expect, sigmoid


def need(module, package=None):
    if importlib.util.find_spec(module) is None:
        raise Skipped(f"{package or module} is not installed")
    return importlib.import_module(module)


def openai_client(url, key="any"):
    return need("openai").OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def check_openai_models(setup):
    """openai: models.list"""
    expect(sorted(model.id for model in openai_client(setup.url).models.list()), ["combined", "helpfulness", "safety"], "models")


def check_openai_model(setup):
    """openai: models.retrieve"""
    for name in ("combined", "safety"):
        expect(openai_client(setup.url).models.retrieve(name).id, name, "model")


def check_openai_embeddings(setup):
    """openai: embeddings.create as it is called by default"""
    for model, score in setup.ids_scores.items():
        reply = openai_client(setup.url).embeddings.create(model=model, input=setup.ids)
        all_agree(reply.data[0].embedding, [score])


def check_openai_embeddings_float(setup):
    """openai: embeddings.create with encoding_format float; a text, texts, ids, lists of ids"""
    client = openai_client(setup.url)
    text, ids = setup.plain_scores["safety"], setup.ids_scores["safety"]
    for given, expected in ((setup.plain, [text]), ([setup.plain] * 2, [text] * 2), (setup.ids, [ids]), ([setup.ids] * 2, [ids] * 2)):
        reply = client.embeddings.create(model="safety", input=given, encoding_format="float")
        all_agree([row.embedding[0] for row in reply.data], expected)
        assert reply.usage.prompt_tokens > 0, f"usage {reply.usage}"


def check_openai_async(setup):
    """openai: AsyncOpenAI, 32 calls at once"""
    need("openai")

    async def create():
        from openai import AsyncOpenAI
        async with AsyncOpenAI(base_url=f"{setup.url}/v1", api_key="any", max_retries=0) as client:
            return await asyncio.gather(*[
                client.embeddings.create(model="safety", input=setup.plain, encoding_format="float") for _ in range(32)])

    all_agree([reply.data[0].embedding[0] for reply in asyncio.run(create())], [setup.plain_scores["safety"]] * 32)


def check_openai_errors(setup):
    """openai: an unknown model and a wrong key raise its own exceptions"""
    openai = need("openai")
    try:
        openai_client(setup.url).embeddings.create(model="no-such-model", input="x", encoding_format="float")
        raise AssertionError("an unknown model is accepted")
    except openai.NotFoundError:
        pass
    with guarded(setup) as url:
        expect(len(list(openai_client(url, KEYS[0]).models.list())), 3, "models with a key")
        try:
            openai_client(url, "wrong-key-0123456789").models.list()
            raise AssertionError("a wrong key is accepted")
        except openai.AuthenticationError:
            pass


def label_of(found):
    """TEI answers a text with a list of labels, the hub with a list of such lists; the client returns the first of either."""
    return found[0] if isinstance(found, list) else found


def check_hub_text_classification(setup):
    """huggingface_hub: InferenceClient.text_classification on / and /predict"""
    hub = need("huggingface_hub")
    for path in ("", "/predict"):
        found = hub.InferenceClient(model=setup.url + path).text_classification(setup.plain)
        agree(label_of(found).score, sigmoid(setup.plain_scores["combined"]))


def check_hub_one_model(setup):
    """huggingface_hub: InferenceClient at /rm/NAME"""
    hub = need("huggingface_hub")
    found = hub.InferenceClient(model=f"{setup.url}/rm/safety").text_classification(setup.plain)
    agree(label_of(found).score, sigmoid(setup.plain_scores["safety"]))


def check_hub_async(setup):
    """huggingface_hub: AsyncInferenceClient.text_classification, 16 at once"""
    hub = need("huggingface_hub")

    async def classify():
        async with hub.AsyncInferenceClient(model=f"{setup.url}/predict") as client:
            return await asyncio.gather(*[client.text_classification(setup.plain) for _ in range(16)])

    all_agree([label_of(found).score for found in asyncio.run(classify())], [sigmoid(setup.plain_scores["combined"])] * 16)


def check_hub_token(setup):
    """huggingface_hub: the token is sent as a key"""
    hub = need("huggingface_hub")
    with guarded(setup) as url:
        found = hub.InferenceClient(model=url, token=KEYS[1]).text_classification(setup.plain)
    agree(label_of(found).score, sigmoid(setup.plain_scores["combined"]))


def rerank_all(setup, client, **more):
    four = setup.turns[:4]
    reply = client.rerank(model="combined", query=four[0].prompt, documents=[sample.answer for sample in four], top_n=3, **more)
    order = sorted(range(4), key=lambda i: -four[i].score)[:3]
    expect([row.index for row in reply.results], order, "order")
    all_agree([row.relevance_score for row in reply.results], [four[i].score for i in order])


def check_cohere(setup):
    """cohere: rerank of Client (/v1/rerank) and ClientV2 (/v2/rerank)"""
    cohere = need("cohere")
    rerank_all(setup, cohere.Client(api_key="any", base_url=setup.url))
    rerank_all(setup, cohere.ClientV2(api_key="any", base_url=setup.url))


def check_cohere_max_tokens_per_doc(setup):
    """cohere: ClientV2.rerank with max_tokens_per_doc"""
    rerank_all(setup, need("cohere").ClientV2(api_key="any", base_url=setup.url), max_tokens_per_doc=400)


def check_cohere_key(setup):
    """cohere: the key is sent as Bearer"""
    cohere = need("cohere")
    with guarded(setup) as url:
        rerank_all(setup, cohere.ClientV2(api_key=KEYS[0], base_url=url))


def check_tei_client(setup):
    """tei-client: info, health, and classify of texts and pairs"""
    client = need("tei_client", "tei-client").HttpClient(setup.url)
    assert client.health(), "health"
    expect(client.info().max_client_batch_size, 32, "max_client_batch_size")
    found = client.classify([setup.plain] * 2, raw_scores=True)
    all_agree([one.scores[0].score for one in found], [setup.plain_scores["combined"]] * 2)
    found = client.classify([(sample.prompt, sample.answer) for sample in setup.turns])
    all_agree([one.scores[0].score for one in found], [sigmoid(sample.score) for sample in setup.turns])


def openrlhf_executor():
    """OpenRLHF's class without the __init__ of its packages, which import torch and more."""
    if importlib.util.find_spec("openrlhf") is None:
        raise Skipped("openrlhf is not installed")
    folder = pathlib.Path(importlib.metadata.distribution("openrlhf").locate_file("openrlhf"))
    for name, place in (("openrlhf", folder), ("openrlhf.utils", folder / "utils")):
        package = types.ModuleType(name)
        package.__path__ = [str(place)]
        sys.modules[name] = package
    return importlib.import_module("openrlhf.utils.agent").SingleTurnAgentExecutor


def check_openrlhf(setup):
    """openrlhf: SingleTurnAgentExecutor's requests to one URL and to two"""
    executor, url = openrlhf_executor(), f"{setup.url}/get_reward"

    async def fetch(urls, sample):
        return await executor(urls)._fetch_rewards_via_http([sample.text], [sample.prompt], [None])

    for sample in setup.samples:
        for urls in (url, [url, url]):
            replies = asyncio.run(fetch(urls, sample))
            all_agree(replies[0]["rewards"], [sample.score])
