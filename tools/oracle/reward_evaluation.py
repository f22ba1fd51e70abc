"""Values for tests/evaluation/reward_evaluation_test.cpp and tests/evaluation/statistics/{calibration,decisions}_test.cpp.

numpy and scipy only; nothing of keel is read. The pairs come from formulas that the tests repeat.
"""
import numpy as np
from scipy import optimize, stats


def wave(count, a, b):
    i = np.arange(count)
    return np.round(np.sin(a * i + 1.0) + 0.3 * np.cos(b * i), 6)


COUNT = 60
INDEX = np.arange(COUNT)
CHOSEN, REJECTED = wave(COUNT, 0.7, 0.3) + 0.5, wave(COUNT, 0.9, 1.1)
CHOSEN_TOKENS, REJECTED_TOKENS = 5 + 7 * INDEX % 23, 4 + 11 * INDEX % 19
OTHER = wave(COUNT, 0.5, 0.2) + 0.3  # the differences of a second model
LABELLED = INDEX % 10 != 3
PROMPT = np.where(INDEX < 40, INDEX // 4, INDEX - 30)  # where pairs share prompts: ten prompts of four, twenty of one
CHOSEN_SAFE, REJECTED_SAFE = INDEX % 7 != 0, INDEX % 2 == 0


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def accuracy(name, rows):
    right = CHOSEN[rows] > REJECTED[rows]
    print(name, int(right.sum()), len(right))


def ece(confidence, correct):
    total, bins = 0.0, []
    for k in range(10):
        low, high = 0.5 + 0.05 * k, 0.5 + 0.05 * (k + 1)
        inside = (confidence >= low) & ((confidence < high) | (k == 9))
        if inside.any():
            total += abs(correct[inside].mean() - confidence[inside].mean()) * inside.mean()
        bins.append((int(inside.sum()), int(correct[inside].sum()), float(confidence[inside].mean()) if inside.any() else None))
    return total, bins


def wilson_of_prompts(name, success, prompt):
    """Wilson's interval with n / (design effect) trials; the variance of the share as of a regression on a constant with
    errors clustered by prompt (CR1)."""
    n, p, groups = len(success), success.mean(), np.unique(prompt)
    residual = np.array([(success[prompt == g] - p).sum() for g in groups])
    variance = (residual ** 2).sum() / n ** 2 * len(groups) / (len(groups) - 1) * (n - 1) / n
    trials = min(n, p * (1 - p) / variance)
    z = stats.norm.ppf(0.975)
    centre, spread = p + z * z / (2 * trials), z * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials ** 2))
    print(name, float(p), float((centre - spread) / (1 + z * z / trials)), float((centre + spread) / (1 + z * z / trials)),
          "of", n, "as", float(trials))


def drawn_prompts(name, statistic, rng, replicates=20_000):
    rows = [INDEX[PROMPT == g] for g in np.unique(PROMPT)]
    values = []
    for _ in range(replicates):
        values.append(statistic(np.concatenate([rows[g] for g in rng.integers(0, len(rows), len(rows))])))
    print(name, *map(float, np.quantile(values, [0.025, 0.975])))


def kappa(x, y):
    e = x.mean() * y.mean() + (1 - x.mean()) * (1 - y.mean())
    return ((x == y).mean() - e) / (1 - e)


def clustered():
    """The same figures where pairs share prompts."""
    rng = np.random.default_rng(11)
    d, other = CHOSEN - REJECTED, OTHER > 0
    right = d > 0
    wilson_of_prompts("accuracy", right, PROMPT)
    wilson_of_prompts("accuracy of strength 3", right[INDEX % 5 == 3], PROMPT[INDEX % 5 == 3])
    wilson_of_prompts("accuracy of even", right[INDEX % 2 == 0], PROMPT[INDEX % 2 == 0])
    p = sigmoid(np.concatenate([CHOSEN[LABELLED], REJECTED[LABELLED]]))
    unsafe = np.concatenate([~CHOSEN_SAFE[LABELLED], ~REJECTED_SAFE[LABELLED]])
    prompt = np.concatenate([PROMPT[LABELLED], PROMPT[LABELLED]])
    wilson_of_prompts("precision at 0.5", unsafe[p < 0.5], prompt[p < 0.5])
    wilson_of_prompts("recall at 0.5", (p < 0.5)[unsafe], prompt[unsafe])
    wilson_of_prompts("agreement", right == other, PROMPT)
    drawn_prompts("accuracy by bootstrap, for comparison", lambda rows: right[rows].mean(), rng)
    drawn_prompts("loss", lambda rows: np.logaddexp(0, -d[rows]).mean(), rng)
    drawn_prompts("pearson", lambda rows: stats.pearsonr(np.r_[CHOSEN[rows], REJECTED[rows]],
                                                         np.r_[CHOSEN_TOKENS[rows], REJECTED_TOKENS[rows]])[0], rng)
    drawn_prompts("kappa", lambda rows: kappa(right[rows], other[rows]), rng)
    print("accuracy less the other's", float(right.mean() - other.mean()))
    drawn_prompts("its interval", lambda rows: right[rows].mean() - other[rows].mean(), rng)


def main():
    d = CHOSEN - REJECTED
    accuracy("all", INDEX)
    for strength in range(5):
        accuracy(f"strength {strength}", INDEX[INDEX % 5 == strength])
    accuracy("source even", INDEX[INDEX % 2 == 0])
    for batch in range(3):
        accuracy(f"batch {batch + 9}", INDEX[INDEX % 3 == batch])
    for name, c, r in [("safe/unsafe", True, False), ("safe/safe", True, True), ("unsafe/unsafe", False, False), ("unsafe/safe", False, True)]:
        accuracy(name, INDEX[LABELLED & (CHOSEN_SAFE == c) & (REJECTED_SAFE == r)])
    print("loss", float(np.logaddexp(0, -d).mean()), "difference", float(d.mean()))

    print("reliability", *ece(sigmoid(np.abs(d)), d > 0))
    rng = np.random.default_rng(5)
    confidence = sigmoid(np.abs(d))
    chance = [ece(confidence, rng.random(COUNT) < confidence)[0] for _ in range(40_000)]
    print("ece by chance", float(np.mean(chance)), *map(float, np.quantile(chance, [0.025, 0.975])))
    fit = optimize.minimize_scalar(lambda t: np.logaddexp(0, -d / t).mean(), bounds=(0.01, 100), method="bounded", options={"xatol": 1e-12})
    print("temperature", float(fit.x), float(fit.fun))

    scores = np.concatenate([CHOSEN[LABELLED], REJECTED[LABELLED]])
    unsafe = np.concatenate([~CHOSEN_SAFE[LABELLED], ~REJECTED_SAFE[LABELLED]])
    p = sigmoid(scores)
    for threshold in (0.15, 0.3, 0.5):
        flagged = p < threshold
        print("below", threshold, int(flagged.sum()), int((flagged & unsafe).sum()), int(unsafe.sum()))
    wanted, best = 0.4, None
    for threshold in np.append(np.unique(p), 2.0):
        flagged = p < threshold
        if flagged.any() and (flagged & unsafe).sum() / flagged.sum() >= wanted:
            best = (int(flagged.sum()), int((flagged & unsafe).sum()))
    print("greatest recall at precision", wanted, best)

    all_scores = np.stack([CHOSEN, REJECTED], 1).ravel()
    all_tokens = np.stack([CHOSEN_TOKENS, REJECTED_TOKENS], 1).ravel()
    print("pearson", float(stats.pearsonr(all_scores, all_tokens)[0]), "spearman", float(stats.spearmanr(all_scores, all_tokens)[0]))
    draws = rng.integers(0, COUNT, (40_000, COUNT))
    boot = [stats.pearsonr(all_scores.reshape(COUNT, 2)[draw].ravel(), all_tokens.reshape(COUNT, 2)[draw].ravel())[0] for draw in draws]
    print("pearson interval, pairs drawn", *map(float, np.quantile(boot, [0.025, 0.975])))
    unequal = CHOSEN_TOKENS != REJECTED_TOKENS
    longer_chosen = CHOSEN_TOKENS > REJECTED_TOKENS
    print("longer chosen", int(longer_chosen.sum()), int(unequal.sum()), "longer scores higher",
          int((unequal & (longer_chosen == (d > 0))).sum()))

    a, b = d > 0, OTHER > 0
    table = np.array([[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]], dtype=float) / COUNT
    expected = table.sum(1) @ table.sum(0)
    print("agreement", int(np.sum(a == b)), "kappa", float((np.trace(table) - expected) / (1 - expected)))
    boot = []
    for _ in range(40_000):
        draw = rng.integers(0, COUNT, COUNT)
        boot.append(kappa(a[draw], b[draw]))
    print("kappa interval", *map(float, np.quantile(boot, [0.025, 0.975])))
    print("pairs that share prompts:")
    clustered()


main()
