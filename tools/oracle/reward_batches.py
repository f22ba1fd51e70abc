"""A tiny reward model trained on shuffled mini-batches over two epochs, in numpy alone, for tests/reward/train_test.cpp.

Three pairs a step, so that steps differ in their pairs and safety labels, one of them holds pairs of both epochs, and the last is short.
Everything is written out here: the Llama (one row at a time, no padding), ranking loss with margins, centring and safety loss by the counts
of the step, clipping, AdamW, warm-up and cosine. No autograd: the derivative in each weight is Im f(w + ih) / h with h = 1e-30, exact to the
last digits of double. Nothing of keel is read but the order of the pairs, which stands here as numbers.

Run: python reward_batches.py > ../../tests/reward/batches.json
"""
import json
import math

import numpy as np

ORDER = [7, 1, 2, 0, 6, 4, 5, 3, 5, 0, 1, 6, 3, 7, 4, 2]  # permutation(8, 1, "reward.order", epoch) of epochs 0 and 1
PAIRS_A_STEP, PEAK, FINAL_RATIO, WARMUP = 3, 0.01, 0.1, 1  # warm-up: 3 % of 6 steps, at least 5, at most a fifth of 6
CENTRING, SAFETY_WEIGHT, MARGINS = 0.01, 0.5, [0, 0, 1 / 3, 2 / 3, 1]  # margins by strength, table 27 "small"
BETA1, BETA2, EPSILON, DECAY, CLIP = 0.9, 0.95, 1e-5, 0.1, 1.0
VOCAB, WIDTH, INNER, LAYERS, HEADS, SIZE, NORM_EPSILON = 11, 8, 12, 2, 2, 4, 1e-5  # one key head for both query heads


def shapes():
    result = {"model.embed_tokens.weight": (VOCAB, WIDTH)}
    for i in range(LAYERS):
        for name, shape in (("input_layernorm", (WIDTH,)), ("self_attn.q_proj", (HEADS * SIZE, WIDTH)), ("self_attn.k_proj", (SIZE, WIDTH)),
                            ("self_attn.v_proj", (SIZE, WIDTH)), ("self_attn.o_proj", (WIDTH, HEADS * SIZE)),
                            ("post_attention_layernorm", (WIDTH,)), ("mlp.gate_proj", (INNER, WIDTH)), ("mlp.up_proj", (INNER, WIDTH)),
                            ("mlp.down_proj", (WIDTH, INNER))):
            result[f"model.layers.{i}.{name}.weight"] = shape
    return {**result, "model.norm.weight": (WIDTH,), "score.weight": (1, WIDTH)}


def start():
    """Element i of the k-th weight is 0.3 sin(1.3 i + k), norms are 1 more; as fp32 holds it."""
    weights = {}
    for k, (name, shape) in enumerate(shapes().items()):
        values = 0.3 * np.sin(1.3 * np.arange(math.prod(shape)) + k) + (1.0 if len(shape) == 1 else 0.0)
        weights[name] = values.astype(np.float32).astype(np.float64).reshape(shape)
    return weights


def pairs():
    """8 pairs of ids 1..10 and of unequal length, with strengths and safety labels."""
    result = []
    for p in range(8):
        chosen = [1 + (3 * p + 2 * t) % 10 for t in range(3 + p % 4)]
        rejected = [1 + (5 * p + 3 * t + 1) % 10 for t in range(2 + (p * 3) % 5)]
        result.append((chosen, rejected, p % 5, 1 if p % 3 else None, 0 if p % 2 else None))
    return result


def norm(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + NORM_EPSILON) * weight


def rotate(x):
    """Positions by SIZE: pair (i, i + SIZE / 2) turned by position * 10000^(-2 i / SIZE)."""
    half = SIZE // 2
    angle = np.arange(len(x))[:, None] * 10000.0 ** (-2 * np.arange(half) / SIZE)
    first, second = x[:, :half], x[:, half:]
    return np.concatenate([first * np.cos(angle) - second * np.sin(angle), second * np.cos(angle) + first * np.sin(angle)], 1)


def score(w, ids):
    """The reward model's score at the last token."""
    x = w["model.embed_tokens.weight"][ids]
    future = np.triu(np.ones((len(ids), len(ids)), bool), 1)
    for i in range(LAYERS):
        layer = lambda name: w[f"model.layers.{i}.{name}.weight"]
        h = norm(x, layer("input_layernorm"))
        q, k, v = h @ layer("self_attn.q_proj").T, rotate(h @ layer("self_attn.k_proj").T), h @ layer("self_attn.v_proj").T
        mixed = []
        for head in range(HEADS):
            raw = np.where(future, -1e30, rotate(q[:, head * SIZE:(head + 1) * SIZE]) @ k.T / math.sqrt(SIZE))
            weight = np.exp(raw - raw.real.max(-1, keepdims=True))
            mixed.append(weight / weight.sum(-1, keepdims=True) @ v)
        x = x + np.concatenate(mixed, 1) @ layer("self_attn.o_proj").T
        h = norm(x, layer("post_attention_layernorm"))
        gate = h @ layer("mlp.gate_proj").T
        x = x + gate / (1 + np.exp(-gate)) * (h @ layer("mlp.up_proj").T) @ layer("mlp.down_proj").T
    return (norm(x[-1:], w["model.norm.weight"]) @ w["score.weight"].T)[0, 0]


def step_loss(w, batch):
    """Means over the pairs and over the safety labels of the whole step."""
    ranking = centring = safety = labels = 0
    for chosen, rejected, strength, chosen_safe, rejected_safe in batch:
        c, r = score(w, chosen), score(w, rejected)
        ranking = ranking + np.log(1 + np.exp(-(c - r - MARGINS[strength])))
        centring = centring + (c + r) ** 2
        for value, safe in ((c, chosen_safe), (r, rejected_safe)):
            if safe is not None:
                safety, labels = safety + np.log(1 + np.exp(-value if safe else value)), labels + 1
    return ranking / len(batch) + CENTRING * centring / len(batch) + SAFETY_WEIGHT * safety / max(labels, 1)


def gradients(w, batch):
    h = 1e-30
    result = {}
    shifted = {name: value.astype(complex) for name, value in w.items()}
    for name, value in w.items():
        flat = shifted[name].reshape(-1)
        result[name] = np.zeros(value.size)
        for i in range(value.size):
            flat[i] += 1j * h
            result[name][i] = step_loss(shifted, batch).imag / h
            flat[i] = flat[i].real
        result[name] = result[name].reshape(value.shape)
    return result


def rate(step, steps):
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    return PEAK * (FINAL_RATIO + (1 - FINAL_RATIO) * (1 + math.cos(math.pi * (step - WARMUP) / (steps - WARMUP))) / 2)


def main():
    data, w, losses = pairs(), start(), []
    m, v = {name: 0 * value for name, value in w.items()}, {name: 0 * value for name, value in w.items()}
    steps = -(-len(ORDER) // PAIRS_A_STEP)
    for step in range(steps):
        batch = [data[i] for i in ORDER[step * PAIRS_A_STEP:(step + 1) * PAIRS_A_STEP]]
        losses.append(float(step_loss(w, batch)))
        g = gradients(w, batch)
        clip = min(1.0, CLIP / (math.sqrt(sum((x * x).sum() for x in g.values())) + 1e-6))
        for name in w:
            m[name] = BETA1 * m[name] + (1 - BETA1) * clip * g[name]
            v[name] = BETA2 * v[name] + (1 - BETA2) * (clip * g[name]) ** 2
            mean, variance = m[name] / (1 - BETA1 ** (step + 1)), v[name] / (1 - BETA2 ** (step + 1))
            w[name] = w[name] * (1 - rate(step, steps) * DECAY) - rate(step, steps) * mean / (np.sqrt(variance) + EPSILON)
    lines = [f'"losses": {json.dumps([round(x, 7) for x in losses])}']
    lines += [f"{json.dumps(name)}: {json.dumps([round(x, 6) for x in value.reshape(-1).tolist()])}" for name, value in w.items()]
    print("{" + ",\n ".join(lines) + "}")


main()
