"""vLLM's pooling APIs as its clients call them: /classify, /score, /rerank, /pooling; and SGLang's own /classify."""
import time

import requests

from service import agree, all_agree, expect, sigmoid


def post(setup, path, **body):
    response = requests.post(setup.url + path, json=body)
    assert response.status_code == 200, f"{path} answers {response.status_code}: {response.text}"
    return response.json()


def expect_error(setup, path, status, **body):
    response = requests.post(setup.url + path, json=body)
    expect(response.status_code, status, f"status of {path}")
    error = response.json()["error"]
    expect(sorted(error), ["code", "message", "param", "type"], "fields of the error")
    expect(error["code"], status, "code")
    return error["message"]


def expect_envelope(reply, prefix, model):
    assert reply["id"].startswith(prefix + "-"), f"id {reply['id']}"
    expect(reply["object"], "list", "object")
    expect(reply["model"], model, "model")
    assert isinstance(reply["created"], int), f"created {reply['created']!r}"
    expect([row["index"] for row in reply["data"]], list(range(len(reply["data"]))), "indices")
    expect_usage(reply["usage"])


def expect_usage(usage):
    assert usage["prompt_tokens"] == usage["total_tokens"] > 0, f"usage {usage}"


SMALL = {"/classify": {"input": "x"}, "/score": {"text_1": "x", "text_2": "y"}, "/rerank": {"query": "x", "documents": ["y"]}}


def check_classify_messages(setup):
    """/classify with messages, every model"""
    for path in ("/classify", "/v1/classify"):
        for sample in setup.samples:
            for model, score in sample.scores.items():
                reply = post(setup, path, model=model, messages=sample.messages)
                expect_envelope(reply, "classify", model)
                expect(sorted(reply["data"][0]), ["index", "label", "num_classes", "probs"], "fields of a row")
                all_agree(reply["data"][0]["probs"], [score])


def check_classify_input(setup):
    """/classify with a text, texts, ids, and lists of ids"""
    texts = [setup.plain_scores["combined"]]
    ids = [setup.ids_scores["combined"]]
    for given, expected in ((setup.plain, texts), ([setup.plain] * 3, texts * 3), (setup.ids, ids), ([setup.ids] * 2, ids * 2)):
        reply = post(setup, "/classify", input=given)
        expect_envelope(reply, "classify", "combined")
        all_agree([row["probs"][0] for row in reply["data"]], expected)


def check_template_text(setup):
    """/classify with text of the chat template, its BOS written out and add_special_tokens false"""
    reply = post(setup, "/classify", input=[sample.text for sample in setup.samples], add_special_tokens=False)
    all_agree([row["probs"][0] for row in reply["data"]], [sample.score for sample in setup.samples])


def check_batch_order(setup):
    """/classify keeps the order of a batch"""
    batch = [setup.ids[:n] for n in range(1, len(setup.ids) + 1)] * 5
    alone = [post(setup, "/classify", input=ids)["data"][0]["probs"][0] for ids in batch[:len(setup.ids)]] * 5
    reply = post(setup, "/classify", input=batch)
    all_agree([row["probs"][0] for row in reply["data"]], alone)


def check_use_activation(setup):
    """use_activation true gives a sigmoid on /classify, /pooling, /score and /rerank"""
    sample = setup.turns[0]
    expected = sigmoid(sample.score)
    for name in ("use_activation", "activation"):
        flag = {name: True}
        agree(post(setup, "/classify", messages=sample.messages, **flag)["data"][0]["probs"][0], expected)
        agree(post(setup, "/pooling", messages=sample.messages, **flag)["data"][0]["data"][0], expected)
        agree(post(setup, "/score", text_1=sample.prompt, text_2=sample.answer, **flag)["data"][0]["score"], expected)
        reply = post(setup, "/rerank", query=sample.prompt, documents=[sample.answer], **flag)
        agree(reply["results"][0]["relevance_score"], expected)


def check_other_fields(setup):
    """fields without meaning here are ignored"""
    more = {"user": "u", "priority": 1, "request_id": "r", "truncate_prompt_tokens": -1, "truncation_side": "left", "no_such": {"a": 1}}
    agree(post(setup, "/classify", input=setup.plain, **more)["data"][0]["probs"][0], setup.plain_scores["combined"])


def check_empty(setup):
    """empty input: 400"""
    for given in ("", [], [""], [[]]):
        expect_error(setup, "/classify", 400, input=given)
        expect_error(setup, "/pooling", 400, input=given)
    expect_error(setup, "/classify", 400)
    expect_error(setup, "/score", 400, text_1="x", text_2=[])
    expect_error(setup, "/score", 400, text_1="x", text_2="")
    expect_error(setup, "/rerank", 400, query="x", documents=[""])
    expect_error(setup, "/rerank", 400, query="x", documents=[])


def check_truncation_limit(setup):
    """truncate_prompt_tokens above the context: 400 that names the field"""
    for path, body in SMALL.items():
        message = expect_error(setup, path, 400, truncate_prompt_tokens=1000000, **body)
        assert "truncate_prompt_tokens" in message, f"the error does not name the field: {message}"


def check_truncation(setup):
    """truncate_prompt_tokens keeps the end, or the start with truncation_side right"""
    for side, ids in (("left", setup.ids[-4:]), ("right", setup.ids[:4])):
        cut = post(setup, "/classify", input=setup.ids, truncate_prompt_tokens=4, truncation_side=side)
        expect(cut["usage"]["prompt_tokens"], 4, "tokens")
        agree(cut["data"][0]["probs"][0], post(setup, "/classify", input=ids)["data"][0]["probs"][0])


def check_long_dialogue(setup):
    """a dialogue over the context: its end is scored"""
    agree(post(setup, "/classify", messages=setup.long.messages)["data"][0]["probs"][0], setup.long.score)


def check_unknown_model(setup):
    """an unknown model: 404"""
    for path, body in SMALL.items():
        expect_error(setup, path, 404, model="no-such-model", **body)


def check_score(setup):
    """/score: the four pairs of fields, one with one, one with many, many with many"""
    four = setup.turns[:4]
    prompt, answers = four[0].prompt, [sample.answer for sample in four]
    for first, second in (("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2")):
        for path in ("/score", "/v1/score"):
            for one, other, expected in ((prompt, answers[0], four[:1]), (prompt, answers, four), ([prompt], answers, four),
                                         ([prompt] * 4, answers, four)):
                reply = post(setup, path, **{first: one, second: other})
                expect_envelope(reply, "score", "combined")
                expect({row["object"] for row in reply["data"]}, {"score"}, "object of the rows")
                all_agree([row["score"] for row in reply["data"]], [sample.score for sample in expected])
    expect_error(setup, "/score", 400, text_1=["a", "b"], text_2=["a", "b", "c"])


def check_rerank(setup):
    """/rerank: sorted, with the documents' text; top_n"""
    four = setup.turns[:4]
    order = sorted(range(4), key=lambda i: -four[i].score)
    documents = [sample.answer for sample in four]
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        for top, count in ((None, 4), (0, 4), (2, 2), (9, 4)):
            reply = post(setup, path, query=four[0].prompt, documents=documents, top_n=top)
            assert reply["id"].startswith("rerank-"), f"id {reply['id']}"
            expect(reply["model"], "combined", "model")
            expect_usage(reply["usage"])
            expect([row["index"] for row in reply["results"]], order[:count], "order")
            expect([row["document"] for row in reply["results"]], [{"text": documents[i]} for i in order[:count]], "documents")
            all_agree([row["relevance_score"] for row in reply["results"]], [four[i].score for i in order[:count]])


def check_typed_token(setup):
    """a user who types </s> on /classify, /score and /rerank: it stays text"""
    typed = setup.typed
    agree(post(setup, "/classify", messages=typed.messages)["data"][0]["probs"][0], typed.score)
    agree(post(setup, "/score", text_1=typed.prompt, text_2=typed.answer)["data"][0]["score"], typed.score)
    agree(post(setup, "/rerank", query=typed.prompt, documents=[typed.answer])["results"][0]["relevance_score"], typed.score)


def check_max_tokens_per_doc(setup):
    """/rerank takes max_tokens_per_doc"""
    sample = setup.turns[0]
    for most in (0, 400):
        reply = post(setup, "/rerank", query=sample.prompt, documents=[sample.answer], max_tokens_per_doc=most)
        agree(reply["results"][0]["relevance_score"], sample.score)


def check_pooling(setup):
    """/pooling with the task classify"""
    for sample in setup.samples:
        reply = post(setup, "/pooling", messages=sample.messages, task="classify", encoding_format="float")
        assert reply["object"] == "list" and reply["data"][0]["object"] == "pooling", f"{reply}"
        expect_usage(reply["usage"])
        all_agree(reply["data"][0]["data"], [sample.score])
    all_agree(post(setup, "/pooling", model="safety", input=setup.ids)["data"][0]["data"], [setup.ids_scores["safety"]])


def check_sglang_classify(setup):
    """SGLang's own /classify: an array, texts without special tokens"""
    for text, count in ((setup.plain, 1), ([setup.plain] * 3, 3)):
        reply = post(setup, "/classify", model="safety", text=text)
        assert isinstance(reply, list) and all("meta_info" in row for row in reply), f"{reply}"
        all_agree([row["embedding"][0] for row in reply], [setup.plain_scores["safety"]] * count)


def check_sglang_template_text(setup):
    """SGLang's own /classify: text of the chat template, as its documentation sends it"""
    reply = post(setup, "/classify", model="combined", text=[sample.text for sample in setup.samples])
    all_agree([row["embedding"][0] for row in reply], [sample.score for sample in setup.samples])


def check_content_parts(setup):
    """messages and sides whose content is OpenAI's text parts"""
    def parts(text):
        return [{"type": "text", "text": text}]

    sample = setup.turns[0]
    messages = [{"role": one["role"], "content": parts(one["content"])} for one in sample.messages]
    agree(post(setup, "/classify", messages=messages)["data"][0]["probs"][0], sample.score)
    reply = post(setup, "/score", data_1={"content": parts(sample.prompt)}, data_2={"content": parts(sample.answer)})
    agree(reply["data"][0]["score"], sample.score)


def check_template_members(setup):
    """members about the chat template beside a plain input"""
    reply = post(setup, "/classify", input=setup.plain, chat_template_kwargs={"enable_thinking": False}, add_generation_prompt=True)
    agree(reply["data"][0]["probs"][0], setup.plain_scores["combined"])


def check_tokenize(setup):
    """/tokenize of a prompt and of messages: the ids that are scored"""
    sample = setup.turns[0]
    for body, score in (({"prompt": setup.plain}, setup.plain_scores["combined"]), ({"messages": sample.messages}, sample.score)):
        found = post(setup, "/tokenize", model="combined", return_token_strs=True, **body)
        expect(sorted(found), ["count", "max_model_len", "token_strs", "tokens"], "fields")
        expect((len(found["tokens"]), len(found["token_strs"])), (found["count"], found["count"]), "count")
        agree(post(setup, "/classify", input=found["tokens"])["data"][0]["probs"][0], score)
    post(setup, "/tokenize", messages=sample.messages[:1])


def check_load(setup):
    """/load is 0 when nothing is asked"""
    post(setup, "/classify", input=setup.plain)
    for _ in range(20):
        load = requests.get(f"{setup.url}/load").json()["server_load"]
        if load == 0:
            return
        time.sleep(0.05)
    raise AssertionError(f"server_load stays at {load}")
