"""A reward model behind FastAPI and transformers, in the shape of OpenRLHF's serve_rm: POST /get_reward {"query": [text, ...]}.

    python3 bench/fastapi_reward.py --model DIR --port 8100 [--batch 16] [--threads 2]

The service that bench/serve.py compares keel serve with. As there, one call of the model at a time, made inside the handler. Tuned: texts are
sorted by length, so that batches hold little padding, and inference_mode is on; an allocator is the caller's (LD_PRELOAD).
"""
import argparse

import torch
import uvicorn
from fastapi import FastAPI, Request
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=1, dtype=torch.float32).eval()
    tokenizer.pad_token_id = model.config.pad_token_id = 0
    tokenizer.padding_side = "right"
    app = FastAPI()

    def scores(texts):
        """Raw scores in the order of the texts."""
        ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        found = [0.0] * len(ids)
        with torch.inference_mode():
            for begin in range(0, len(order), args.batch):
                part = order[begin:begin + args.batch]
                batch = tokenizer.pad({"input_ids": [ids[i] for i in part]}, return_tensors="pt")
                for i, score in zip(part, model(**batch, use_cache=False).logits[:, 0].tolist(), strict=True):
                    found[i] = score
        return found

    @app.post("/get_reward")
    async def get_reward(request: Request):
        rewards = scores((await request.json())["query"])
        return {"rewards": rewards, "scores": rewards, "extra_logs": {}}

    uvicorn.run(app, host="127.0.0.1", port=args.port, log_level="warning")


if __name__ == "__main__":
    main()
