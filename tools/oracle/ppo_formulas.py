"""Values that no publication gives, from numpy and torch alone (nothing of keel), for tests/reward and tests/ppo.

whiten(logit(Rc)) with the safety gate, the safety auxiliary loss, centring, and a random case of every PPO formula in float64.
Run: python ppo_formulas.py; the printed numbers stand in the tests.
"""
import numpy as np
import torch
import torch.nn.functional as F

np.set_printoptions(precision=9, suppress=True, linewidth=140)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, dtype=np.float64)))


def gate():
    helpfulness = np.array([1.2, -0.4, 2.5, 0.3, -1.0, 3.0])
    safety = np.array([0.8, -2.0, -1.7, 1.5, -1.8, -6.0])
    is_safety = np.array([False, False, False, True, False, True])
    rs, rh = sigmoid(safety), sigmoid(helpfulness)
    rc = np.where(is_safety | (rs < 0.15), rs, rh)
    raw = np.log(rc / (1 - rc))
    print("Rc             ", rc)
    print("whiten(logit)  ", (raw - raw.mean()) / np.sqrt(raw.var() + 1e-8))


def reward_losses():
    chosen = torch.tensor([1.5, -0.25, 0.75], dtype=torch.float64)
    rejected = torch.tensor([0.5, 0.25, -1.25], dtype=torch.float64)
    margin = torch.tensor([1.0, 0.0, 1 / 3], dtype=torch.float64)  # strengths 4, 1, 2 of the small table
    ranking = F.softplus(-(chosen - rejected - margin)).mean()
    centring = ((chosen + rejected) ** 2).mean()
    # labels: chosen safe, -, unsafe; rejected unsafe, safe, -
    safety = F.binary_cross_entropy_with_logits(
        torch.stack([chosen[0], chosen[2], rejected[0], rejected[1]]), torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64))
    print("ranking, centring, safety", ranking.item(), centring.item(), safety.item())
    print("0.01 centring + 0.5 safety", (ranking + 0.01 * centring + 0.5 * safety).item())


def clipped_losses():
    logp = torch.tensor([[-1.0, -2.0, -0.5], [-1.5, -0.7, -9.0]], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([[-1.3, -1.9, -0.5], [-1.0, -1.1, 9.0]], dtype=torch.float64)
    adv = torch.tensor([[1.0, -1.0, 0.5], [2.0, -0.3, 7.0]], dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]], dtype=torch.bool)
    ratio = torch.exp(logp - old)
    terms = torch.max(-adv * ratio, -adv * torch.clamp(ratio, 0.8, 1.2))[mask]
    terms.mean().backward()
    clipped = (-adv * torch.clamp(ratio, 0.8, 1.2) > -adv * ratio)[mask]
    print("policy loss", terms.mean().item(), "approxkl", 0.5 * ((logp - old)[mask] ** 2).mean().item(), "clipfrac",
          clipped.double().mean().item(), "ratio", ratio[mask].mean().item(), "var", ratio[mask].var(unbiased=False).item())
    print("policy gradient", logp.grad.numpy())

    value = torch.tensor([[0.5, 1.0, -0.2], [0.1, 2.0, 5.0]], dtype=torch.float64, requires_grad=True)
    old_value = torch.tensor([[0.4, 0.5, -0.2], [0.6, 2.1, -5.0]], dtype=torch.float64)
    returns = torch.tensor([[1.0, 0.9, 0.0], [0.3, 1.0, 99.0]], dtype=torch.float64)
    near = old_value + torch.clamp(value - old_value, -0.2, 0.2)
    free, clip = (value - returns) ** 2, (near - returns) ** 2
    terms = 0.5 * torch.max(free, clip)[mask]
    terms.mean().backward()
    print("value loss", terms.mean().item(), "clipfrac", (clip > free)[mask].double().mean().item())
    print("value gradient", value.grad.numpy())

    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, -1.0, 0.5]], dtype=torch.float64)
    print("entropy", torch.distributions.Categorical(logits=logits).entropy().numpy())


gate()
reward_losses()
clipped_losses()
