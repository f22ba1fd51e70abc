"""Logits and log-probabilities of Llamas from transformers, for tests/policy.

    llama_reference.py             tiny models whose weights come from the formula of tests/support/tiny_model.h
    llama_reference.py rope        the same with rope scaling, for tests/policy/rope_scaling_test.cpp: frequencies, the logits behind 48 ids
                                   and every fourth of their log-probs
    llama_reference.py FOLDER      a model in Hugging Face's layout as JSON: log-probs of ids spread over its vocabulary, and 200 greedy
                                   ids after a prompt with theirs (tests/policy/story_hf.json)

Nothing of keel is read.
"""
import json
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
PROMPT = [1, 80, 235]  # "One day" to story-hf: its 200 greedy ids lead by 0.05 at least, so that no rounding decides


def build(**shape):
    """A Llama of two layers; element i of the k-th weight is 0.3 sin(1.3 i + k), norms are 1 more."""
    rope = {"rope_type": "default", "rope_theta": shape.pop("rope_theta", 10000.0)} | shape.pop("rope", {})
    config = LlamaConfig(vocab_size=11, hidden_size=8, intermediate_size=12, num_hidden_layers=2,
                         max_position_embeddings=shape.pop("context", 32), rope_parameters=rope, **shape)
    model = LlamaForCausalLM(config).float().eval()
    names = ["model.embed_tokens.weight"]
    for i in range(2):
        names += [f"model.layers.{i}.{n}.weight" for n in (
            "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
            "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")]
    names += ["model.norm.weight"] + ([] if config.tie_word_embeddings else ["lm_head.weight"])
    weights = dict(model.named_parameters())
    assert sorted(names) == sorted(weights)
    with torch.no_grad():
        for k, name in enumerate(names):
            w = weights[name]
            values = 0.3 * torch.sin(1.3 * torch.arange(w.numel(), dtype=torch.float64) + k) + (1.0 if w.dim() == 1 else 0.0)
            w.copy_(values.view(w.shape))
    return model


@torch.no_grad()
def report(model, ids):
    logits = model(torch.tensor([ids])).logits[0].float()
    logprobs = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return [round(x, 6) for x in logits[-1].tolist()], [round(x, 6) for x in logprobs.tolist()]


def report_scaled():
    ids = [(3 * i * i + i) % 11 for i in range(48)]  # tests/policy/rope_scaling_test.cpp has the same
    for rope in ({"rope_type": "linear", "factor": 4.0},
                 {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                  "original_max_position_embeddings": 32}):
        model = build(num_attention_heads=2, num_key_value_heads=1, head_dim=8, rms_norm_eps=1e-5, rope_theta=100.0, rope=rope, context=64)
        logits, logprobs = report(model, ids)
        print(rope["rope_type"], [float(f"{x:.9g}") for x in model.model.rotary_emb.inv_freq.tolist()], logits, logprobs[::4], sep="\n  ")


@torch.no_grad()
def report_folder(folder):
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = [1] + [3 + (i * i * 37 + 11 * i) % (model.config.vocab_size - 3) for i in range(1, 48)]
    greedy = list(PROMPT)
    margins = []
    for _ in range(200):
        best = model(torch.tensor([greedy])).logits[0, -1].topk(2)
        greedy.append(best.indices[0].item())
        margins.append((best.values[0] - best.values[1]).item())
    print(f"smallest lead of a greedy id: {min(margins):.4f}", file=sys.stderr)
    return {"ids": ids, "logprobs": report(model, ids)[1], "prompt": PROMPT, "greedy": greedy, "greedy_logprobs": report(model, greedy)[1]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:] == ["rope"]:
        report_scaled()
    elif len(sys.argv) == 2:
        print(json.dumps(report_folder(sys.argv[1])))
    else:
        for name, shape in {
            "grouped queries, untied": dict(num_attention_heads=2, num_key_value_heads=1, rms_norm_eps=1e-5),
            "tied, one head a key head": dict(num_attention_heads=4, num_key_value_heads=4, rms_norm_eps=1e-5, tie_word_embeddings=True),
            "wide heads": dict(num_attention_heads=4, num_key_value_heads=2, head_dim=6, rms_norm_eps=0.01, rope_theta=500.0),
        }.items():
            print(name, *report(build(**shape), IDS), sep="\n  ")
