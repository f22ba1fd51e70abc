"""Scores and training losses of a tiny reward model from transformers and torch.optim, for tests/reward.

The weights come from the formula of tests/support/tiny_model.h. Nothing of keel is read.
"""
import math

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForSequenceClassification

VOCAB, PAD = 11, 0


def build():
    config = LlamaConfig(vocab_size=VOCAB, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
                         num_key_value_heads=1, max_position_embeddings=32, rms_norm_eps=1e-5, num_labels=1, pad_token_id=PAD,
                         attention_dropout=0.0)
    model = LlamaForSequenceClassification(config).float()
    names = ["model.embed_tokens.weight"]
    for i in range(2):
        names += [f"model.layers.{i}.{n}.weight" for n in (
            "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
            "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")]
    names += ["model.norm.weight", "score.weight"]
    weights = dict(model.named_parameters())
    assert sorted(names) == sorted(weights)
    with torch.no_grad():
        for k, name in enumerate(names):
            w = weights[name]
            values = 0.3 * torch.sin(1.3 * torch.arange(w.numel(), dtype=torch.float64) + k) + (1.0 if w.dim() == 1 else 0.0)
            w.copy_(values.view(w.shape))
    return model


def scores(model, rows):
    longest = max(map(len, rows))
    ids = torch.tensor([r + [PAD] * (longest - len(r)) for r in rows])
    mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows])
    return model(input_ids=ids, attention_mask=mask).logits.squeeze(-1)


def pairs():
    """8 pairs of ids 1..10 and of unequal length, with strengths and safety labels."""
    result = []
    for p in range(8):
        chosen = [1 + (3 * p + 2 * t) % 10 for t in range(3 + p % 4)]
        rejected = [1 + (5 * p + 3 * t + 1) % 10 for t in range(2 + (p * 3) % 5)]
        result.append((chosen, rejected, p % 5, 1 if p % 3 else None, 0 if p % 2 else None))
    return result


def train(steps=20):
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1)
    peak, final, warmup = 0.01, 0.1, min(max(math.ceil(0.03 * steps), 5), steps // 5)
    table = torch.tensor([0, 0, 1 / 3, 2 / 3, 1.0])
    losses = []
    for step in range(steps):
        data = pairs()
        chosen, rejected = scores(model, [p[0] for p in data]), scores(model, [p[1] for p in data])
        margin = table[torch.tensor([p[2] for p in data])]
        safety_scores = torch.stack([chosen[i] for i, p in enumerate(data) if p[3] is not None]
                                    + [rejected[i] for i, p in enumerate(data) if p[4] is not None])
        labels = torch.tensor([float(p[3]) for p in data if p[3] is not None] + [float(p[4]) for p in data if p[4] is not None])
        loss = (F.softplus(-(chosen - rejected - margin)).mean() + 0.01 * ((chosen + rejected) ** 2).mean()
                + 0.5 * F.binary_cross_entropy_with_logits(safety_scores, labels))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if step < warmup:
            rate = peak * (step + 1) / warmup
        else:
            rate = peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        losses.append(round(loss.item(), 7))
    return losses


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        print("scores", [round(s, 7) for s in scores(build(), [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3, 5, 8, 9, 7]]).tolist()])
    print("losses", train())
