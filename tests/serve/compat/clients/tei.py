"""Hugging Face's text-embeddings-inference (TEI): /predict, /rerank, /info, their errors and headers."""
import requests

from service import agree, all_agree, busy, expect, sigmoid


def post(url, path, **body):
    response = requests.post(url + path, json=body)
    assert response.status_code == 200, f"{path} answers {response.status_code}: {response.text}"
    return response.json()


def expect_error(response, status, kind):
    expect(response.status_code, status, "status")
    expect(sorted(response.json()), ["error", "error_type"], "fields of the error")
    expect(response.json()["error_type"], kind, "error_type")


def check_predict_pair(setup):
    """/predict: [prompt, answer] is one pair; a sigmoid unless raw_scores"""
    for path in ("/predict", "/", "/invocations"):
        for sample in setup.turns:
            pair = [sample.prompt, sample.answer]
            [found] = post(setup.url, path, inputs=pair)
            assert isinstance(found["label"], str), f"label {found['label']!r}"
            agree(found["score"], sigmoid(sample.score))
            [found] = post(setup.url, path, inputs=pair, raw_scores=True)
            agree(found["score"], sample.score)


def check_predict_text(setup):
    """/predict: a text, and a list of one text"""
    for inputs in (setup.plain, [setup.plain]):
        [found] = post(setup.url, "/predict", inputs=inputs, raw_scores=True)
        agree(found["score"], setup.plain_scores["combined"])


def check_predict_batch(setup):
    """/predict: a batch of pairs and texts keeps its order"""
    batch = [[sample.prompt, sample.answer] for sample in setup.turns] + [[setup.plain]]
    found = post(setup.url, "/predict", inputs=batch, raw_scores=True)
    assert all(len(one) == 1 for one in found), "a text has one label"
    all_agree([one[0]["score"] for one in found], [sample.score for sample in setup.turns] + [setup.plain_scores["combined"]])


def check_rerank(setup):
    """/rerank with texts: sorted, scores by a sigmoid, text on demand"""
    samples = setup.turns[:4]
    texts = [sample.answer for sample in samples]
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        found = post(setup.url, path, query=samples[0].prompt, texts=texts)
        expect([one["index"] for one in found], sorted(range(4), key=lambda i: -samples[i].score), "order")
        all_agree([one["score"] for one in found], [sigmoid(samples[one["index"]].score) for one in found])
        assert all("text" not in one for one in found), "texts that nobody asked for"
        found = post(setup.url, path, query=samples[0].prompt, texts=texts, raw_scores=True, return_text=True)
        all_agree([one["score"] for one in found], [samples[one["index"]].score for one in found])
        expect([one["text"] for one in found], [texts[one["index"]] for one in found], "texts")


def check_typed_token(setup):
    """a user who types </s> in a pair: it stays text"""
    typed = setup.typed
    agree(post(setup.url, "/predict", inputs=[typed.prompt, typed.answer], raw_scores=True)[0]["score"], typed.score)
    agree(post(setup.url, "/rerank", query=typed.prompt, texts=[typed.answer], raw_scores=True)[0]["score"], typed.score)


def check_truncation_fields(setup):
    """truncate and truncation_direction in both cases"""
    for direction in ("Left", "Right", "left", "right"):
        for truncate in (True, False, None):
            [found] = post(setup.url, "/predict", inputs=setup.plain, raw_scores=True, truncate=truncate, truncation_direction=direction)
            agree(found["score"], setup.plain_scores["combined"])


def check_truncation(setup):
    """a text over the context: refused without truncate, else cut at the side asked for"""
    long = "wood " * 1000
    expect_error(requests.post(f"{setup.url}/predict", json={"inputs": long, "truncate": False}), 422, "Validation")
    for direction in ("Left", "Right"):
        post(setup.url, "/predict", inputs=long, truncate=True, truncation_direction=direction)


def check_empty(setup):
    """empty requests: 400 Empty"""
    for inputs in ("", [], [""]):
        expect_error(requests.post(f"{setup.url}/predict", json={"inputs": inputs}), 400, "Empty")
    expect_error(requests.post(f"{setup.url}/rerank", json={"query": "x", "texts": []}), 400, "Empty")


def check_batch_limit(setup):
    """more than 32 texts: 422 Validation"""
    post(setup.url, "/predict", inputs=[["x"]] * 32)
    expect_error(requests.post(f"{setup.url}/predict", json={"inputs": [["x"]] * 33}), 422, "Validation")
    expect_error(requests.post(f"{setup.url}/rerank", json={"query": "x", "texts": ["y"] * 33}), 422, "Validation")


def check_wrong_shape(setup):
    """inputs missing, of a wrong type, or three texts: 422 Validation"""
    for body in ({}, {"inputs": 5}, {"inputs": ["a", "b", "c"]}, {"inputs": [["a"], "b"]}):
        expect_error(requests.post(f"{setup.url}/predict", json=body), 422, "Validation")
    expect_error(requests.post(f"{setup.url}/rerank", json={"texts": ["a"]}), 422, "Validation")


def check_wrong_type(setup):
    """a flag or texts of a wrong type: 422, not 400 Empty"""
    expect_error(requests.post(f"{setup.url}/predict", json={"inputs": "a", "raw_scores": "yes"}), 422, "Validation")
    expect_error(requests.post(f"{setup.url}/rerank", json={"query": "a", "texts": [1]}), 422, "Validation")


def check_bad_json(setup):
    """a body that is not JSON: 400, and the error is not called Empty"""
    response = requests.post(f"{setup.url}/predict", data='{"inputs":', headers={"Content-Type": "application/json"})
    expect(response.status_code, 400, "status")
    assert response.json()["error_type"] != "Empty", f"{response.text}"


def check_overload(setup):
    """429 Overloaded with Retry-After while the queue is full"""
    with busy(setup) as url:
        response = requests.post(f"{url}/predict", json={"inputs": setup.plain})
    expect_error(response, 429, "Overloaded")
    assert "Retry-After" in response.headers, "no Retry-After"


def check_headers(setup):
    """headers with the times and the size of the work"""
    response = requests.post(f"{setup.url}/predict", json={"inputs": setup.plain})
    wanted = ["x-compute-type", "x-compute-time", "x-compute-characters", "x-compute-tokens", "x-total-time", "x-tokenization-time",
              "x-queue-time", "x-inference-time"]
    expect([name for name in wanted if name not in response.headers], [], "missing headers")


def check_tokenize(setup):
    """/tokenize: a list of tokens a text, with their places"""
    for inputs, count in ((setup.plain, 1), ([setup.plain] * 2, 2)):
        found = post(setup.url, "/tokenize", inputs=inputs)
        expect(len(found), count, "texts")
        for tokens in found:
            expect(sorted(tokens[0]), ["id", "special", "start", "stop", "text"], "fields of a token")
            placed = [one for one in tokens if not one["special"]]
            expect("".join(one["text"] for one in placed), setup.plain, "the tokens' text")
            expect([setup.plain[one["start"]:one["stop"]] for one in placed], [one["text"] for one in placed], "places")
        score = requests.post(f"{setup.url}/classify", json={"input": [one["id"] for one in found[0]]}).json()["data"][0]["probs"][0]
        agree(score, setup.plain_scores["combined"])


def check_one_model(setup):
    """/rm/NAME is a server of one model: its root, /info and /health"""
    for name in ("helpfulness", "safety"):
        for slash in ("", "/"):
            [found] = post(setup.url, f"/rm/{name}{slash}", inputs=setup.plain, raw_scores=True)
            agree(found["score"], setup.plain_scores[name])
        expect(requests.get(f"{setup.url}/rm/{name}/info").json()["model_id"], name, "model_id")
        expect(requests.get(f"{setup.url}/rm/{name}/health").status_code, 200, "health")


def check_info(setup):
    """/info has TEI's fields"""
    info = requests.get(f"{setup.url}/info").json()
    wanted = ["model_id", "model_sha", "model_dtype", "served_model_name", "model_type", "max_concurrent_requests", "max_input_length",
              "max_batch_tokens", "max_batch_requests", "max_client_batch_size", "auto_truncate", "tokenization_workers", "version", "sha",
              "docker_label"]
    expect([name for name in wanted if name not in info], [], "missing fields")
    expect(info["max_client_batch_size"], 32, "max_client_batch_size")
    [(kind, labels)] = info["model_type"].items()
    assert kind in ("classifier", "reranker") and sorted(labels) == ["id2label", "label2id"], f"model_type {info['model_type']}"
