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
        x, y = a[draw], b[draw]
        e = x.mean() * y.mean() + (1 - x.mean()) * (1 - y.mean())
        boot.append(((x == y).mean() - e) / (1 - e))
    print("kappa interval", *map(float, np.quantile(boot, [0.025, 0.975])))


main()
