"""One PPO update of a tiny policy and critic, by transformers and torch.optim, for tests/ppo/update_test.cpp.

Rollouts, rewards and weights come from formulas; everything between them and the new weights is computed here: gate, whiten(logit(Rc)), missing
EOS, KL against a reference that is not the policy, GAE, whitened advantages, clipped losses, clipping of the gradient, AdamW. Answers are run
one by one, without padding. Two settings: a critic of its own with the KL in the reward; a head on the policy's trunk with k3 in the loss
and a pretraining mix. Nothing of keel is read but the order of its random draws, which stands here as numbers.

Run: python ppo_update.py > ../../tests/ppo/update.json
"""
import json
import math

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

ANSWERS, TEMPERATURE = 16, 0.7
ORDER = [14, 2, 10, 15, 8, 13, 11, 6, 12, 4, 5, 1, 0, 7, 9, 3]  # permutation(16, 1, "ppo.order", 0)
PTX_ORDER = [1, 3, 2, 0, 4, 0, 1, 4, 2, 3]  # permutation(5, 1, "ppo.ptx", rounds 0 and 1)


def names(head):
    result = ["model.embed_tokens.weight"]
    for i in range(2):
        result += [f"model.layers.{i}.{n}.weight" for n in (
            "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
            "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")]
    return result + ["model.norm.weight", head]


def llama():
    """Element i of the k-th weight is 0.3 sin(1.3 i + k), norms are 1 more."""
    config = LlamaConfig(vocab_size=11, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
                         num_key_value_heads=1, max_position_embeddings=32, rms_norm_eps=1e-5, tie_word_embeddings=False)
    model = LlamaForCausalLM(config).float().eval()
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for k, name in enumerate(names("lm_head.weight")):
            fill(weights[name], k)
    return model


def fill(w, k):
    values = 0.3 * torch.sin(1.3 * torch.arange(w.numel(), dtype=torch.float64) + k) + (1.0 if w.dim() == 1 else 0.0)
    w.copy_(values.view(w.shape))


def rollouts():
    """Prompts, answers of 1 to 6 ids, whether each ended by itself."""
    rows = []
    for i in range(ANSWERS):
        prompt = [1 + (3 * i + 2 * t) % 9 for t in range(2 + i % 3)]
        answer = [1 + (5 * i + 3 * t + i * t) % 9 for t in range(1 + 7 * i % 6)]
        rows.append((prompt, answer, i % 4 != 1))
    return rows


def rewards(scope):
    """Whitened scores; the raw ones are 2 sin(1.7 i) and 2.5 cos(0.9 i), every fifth prompt is about safety."""
    sigmoid = lambda x: 1 / (1 + math.exp(-x))
    rc, decided = [], []
    for i in range(ANSWERS):
        helpful, safe = sigmoid(2 * math.sin(1.7 * i)), sigmoid(2.5 * math.cos(0.9 * i))
        decided.append(i % 5 == 0 or safe < 0.15)
        rc.append(safe if decided[-1] else helpful)
    logits = torch.tensor([math.log(p / (1 - p)) for p in rc], dtype=torch.float64)
    decided = torch.tensor(decided)
    for group in ([torch.ones_like(decided)] if scope == "batch" else [decided, ~decided]):
        part = logits[group]
        logits[group] = (part - part.mean()) / torch.sqrt(part.var(unbiased=False) + 1e-8)
    return logits


def pretraining():
    return [[1 + i, 2, 3 + i, 4] for i in range(5)]


class Models:
    def __init__(self, shared):
        self.shared, self.reference, self.policy = shared, llama(), llama()
        with torch.no_grad():
            for k, name in enumerate(names("lm_head.weight")):
                w = dict(self.policy.named_parameters())[name]
                w += (0.02 * torch.cos(0.7 * torch.arange(w.numel(), dtype=torch.float64) + k)).view(w.shape).float()
        self.trunk = self.policy.model if shared else llama().model
        self.head = torch.zeros(1, 8)
        fill(self.head, 20)
        self.head.requires_grad_(True)
        policy = {"policy." + n: dict(self.policy.named_parameters())[n] for n in names("lm_head.weight")}
        trunk = {"critic." + n: dict(self.trunk.named_parameters(prefix="model"))[n] for n in names("score.weight")[:-1]}
        head = {"critic.score.weight": self.head}
        self.groups = [policy | head] if shared else [policy, trunk | head]

    def named(self):
        return {n: w for group in self.groups for n, w in group.items()}

    def run(self, row, model=None):
        """Log-probs of the answer's ids at the temperature, and the values before each."""
        prompt, answer, _ = row
        ids, places = torch.tensor([prompt + answer]), slice(len(prompt) - 1, len(prompt) + len(answer) - 1)
        logits = (model or self.policy)(ids).logits[0, places] / TEMPERATURE
        logprobs = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
        if model is not None:
            return logprobs, None
        return logprobs, F.linear(self.trunk(ids).last_hidden_state[0, places], self.head)[:, 0]


def advantages(models, shared):
    """Old log-probs, values, reference log-probs, whitened advantages and returns of every answer, in float64."""
    rows, scores = rollouts(), rewards("deciding_model" if shared else "batch")
    experience, flat = [], []
    with torch.no_grad():
        for i, row in enumerate(rows):
            old, values = models.run(row)
            reference, _ = models.run(row, models.reference)
            kl = (old - reference).double()
            reward = torch.zeros_like(kl) if shared else -0.05 * kl
            reward[-1] += scores[i] - (0.0 if row[2] else 0.5)
            v, advantage, following = values.double(), torch.zeros_like(kl), 0.0
            for t in reversed(range(len(kl))):
                after = v[t + 1] if t + 1 < len(kl) else 0.0
                following = reward[t] + 0.98 * after - v[t] + 0.98 * 0.9 * following
                advantage[t] = following
            experience.append([old, values, reference, advantage, (advantage + v).float()])
            flat.append(advantage)
    every = torch.cat(flat)
    for e in experience:
        e[3] = ((e[3] - every.mean()) / torch.sqrt(every.var(unbiased=False) + 1e-8)).float()
    return rows, experience


def losses(models, rows, experience, chosen, mix):
    tokens = sum(len(rows[i][1]) for i in chosen)
    policy = value = kl = 0.0
    for i in chosen:
        old, old_values, reference, advantage, returns = experience[i]
        logprobs, values = models.run(rows[i])
        ratio = torch.exp(logprobs - old)
        policy = policy - torch.min(advantage * ratio, advantage * ratio.clamp(0.8, 1.2)).sum() / tokens
        near = old_values + (values - old_values).clamp(-0.2, 0.2)
        worse = torch.max((values - returns) ** 2, (near - returns) ** 2).sum() / tokens
        value = value + (0.05 if models.shared else 0.5) * worse
        log_ratio = logprobs - reference
        kl = kl + 0.05 * (torch.exp(-log_ratio) - 1 + log_ratio).sum() / tokens
    if not models.shared:
        return {"policy": policy, "value": value}, policy + value
    texts = [pretraining()[i] for i in mix]
    ptx = sum(F.cross_entropy(models.policy(torch.tensor([t])).logits[0, :-1], torch.tensor(t[1:]), reduction="sum") for t in texts)
    ptx = ptx / sum(len(t) - 1 for t in texts)
    return {"policy": policy, "value": value, "kl": kl, "ptx": ptx}, policy + value + kl + 0.3 * ptx


def summary(tensor):
    """Norm and two projections: an error that changes none of the three would be a coincidence."""
    x, i = tensor.detach().double().flatten(), torch.arange(tensor.numel(), dtype=torch.float64)
    return [round(v.item(), 7) for v in (x.norm(), (x * torch.cos(0.7 * i)).sum(), (x * torch.sin(0.31 * i + 1)).sum())]


def update(shared, minibatch, clip):
    """`minibatch` answers a step. Returns mean losses, the first step's gradients, the average of all steps' that AdamW keeps, and the change of
    every weight."""
    models = Models(shared)
    rows, experience = advantages(models, shared)
    before = {n: w.detach().clone() for n, w in models.named().items()}
    optimizers = [torch.optim.AdamW(list(g.values()), lr=rate, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.1)
                  for g, rate in zip(models.groups, (0.003, 0.005))]
    logged, gradients = [], None
    for s in range(ANSWERS // minibatch):
        chosen = ORDER[s * minibatch:(s + 1) * minibatch]
        parts, loss = losses(models, rows, experience, chosen, PTX_ORDER[2 * s:2 * s + 2])
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        gradients = gradients or {n: summary(w.grad) for n, w in models.named().items()}
        if clip:
            for group in models.groups:
                torch.nn.utils.clip_grad_norm_(list(group.values()), clip)
        for optimizer in optimizers:
            optimizer.step()
        logged.append({n: v.item() for n, v in parts.items()})
    mean = {n: round(sum(x[n] for x in logged) / len(logged), 7) for n in logged[0]}
    moments = {id(w): state["exp_avg"] for optimizer in optimizers for w, state in optimizer.state.items()}
    return {"losses": mean, "gradients": gradients, "moments": {n: summary(moments[id(w)]) for n, w in models.named().items()},
            "changes": {n: summary(w - before[n]) for n, w in models.named().items()}}


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = {}
    for name, shared in (("separate", False), ("shared", True)):
        one, four = update(shared, ANSWERS, 0.0), update(shared, 4, 1.0)
        result[name] = {"whole_batch": {k: one[k] for k in ("losses", "gradients")}, "four_steps": {k: four[k] for k in ("losses", "moments", "changes")}}
    lines = json.dumps(result, indent=1)
    print(lines.replace("\n     ", " ").replace("[ ", "[").replace("\n    ]", "]"))
