"""AdamW steps and SFT losses from plain PyTorch, for tests/runtime/adamw_test.cpp and tests/policy/training_test.cpp.

Every sequence goes through transformers' Llama alone: no packing, no padding, so that what packing leaks would show. Nothing of keel is
read; weights come from the formula of tests/support/tiny_model.h.
"""
import math

import torch

from llama_reference import build

OPTIMIZER = dict(betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1)


def adamw_steps():
    """Five steps on two tensors with gradients by formula; the norm to clip is passed in some steps only."""
    formula = lambda n, k, step: torch.sin(0.7 * torch.arange(n, dtype=torch.float64) + k + step).float() * (0.2 + 0.3 * (step % 3))
    weights = [(0.5 * torch.cos(torch.arange(n, dtype=torch.float64) + k)).float().requires_grad_() for k, n in enumerate((6, 4))]
    optimizer = torch.optim.AdamW(weights, lr=1.0, **OPTIMIZER)
    norms = []
    for step in range(5):
        for k, w in enumerate(weights):
            w.grad = formula(w.numel(), k, step)
        norms.append(torch.nn.utils.clip_grad_norm_(weights, 1.0).item())
        optimizer.param_groups[0]["lr"] = 0.01 * (step + 1)
        optimizer.step()
    return norms, [w.tolist() for w in weights]


def sequences():
    """Twelve sequences of 3..9 ids; the first one to three ids are prompt."""
    result = []
    for i in range(12):
        ids = [1 + (3 * i + 2 * t + t * t) % 10 for t in range(3 + (5 * i) % 7)]
        result.append((ids, [t >= 1 + i % 3 for t in range(len(ids))]))
    return result


def rows(data, row_tokens, count):
    """Sequences in the order 0, 7, 14, ... mod 12, again and again, as rows of at most `row_tokens` ids (next fit)."""
    result, used = [[]], 0
    for j in range(1000):
        sequence = data[(7 * j) % len(data)]
        if used + len(sequence[0]) > row_tokens:
            if len(result) == count:
                return result
            result.append([])
            used = 0
        result[-1].append(sequence)
        used += len(sequence[0])


def negative_logprobs(model, ids, mask):
    logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)[:-1]
    chosen = logprobs.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return -chosen[torch.tensor(mask[1:])]


def sft(steps=20, batch_rows=2, row_tokens=16, peak=0.01, final=0.1, warmup=4):
    model = build(num_attention_heads=2, num_key_value_heads=1, rms_norm_eps=1e-5)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, **OPTIMIZER)
    plan = rows(sequences(), row_tokens, steps * batch_rows)
    losses, targets = [], []
    for step in range(steps):
        batch = [s for row in plan[step * batch_rows:(step + 1) * batch_rows] for s in row]
        nll = torch.cat([negative_logprobs(model, ids, mask) for ids, mask in batch])
        loss = nll.mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if step < warmup:
            rate = peak * (step + 1) / warmup
        else:
            rate = peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        losses.append(round(loss.item(), 7))
        targets.append(nll.numel())
    with torch.no_grad():
        evaluation = torch.cat([negative_logprobs(model, ids, mask) for ids, mask in sequences()]).mean().item()
    return losses, targets, evaluation


if __name__ == "__main__":
    torch.set_num_threads(1)
    norms, weights = adamw_steps()
    print("adamw norms", [round(n, 7) for n in norms])
    for w in weights:
        print("adamw weights", [round(x, 7) for x in w])
    losses, targets, evaluation = sft()
    print("sft losses", losses)
    print("sft targets", targets)
    print("loss over all sequences afterwards", round(evaluation, 7))
