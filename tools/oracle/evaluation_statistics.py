"""Values for tests/evaluation/statistics from scipy and numpy; prints what stands in the tests.

The bootstrap references use 400,000 resamples of scipy's percentile method (Monte Carlo error about 1e-4 of the values' spread).
"""
import numpy as np
from scipy import stats


def wave(count, a, b):
    """The tests' sample, by formula: no two programs need to share a generator."""
    i = np.arange(count)
    return np.round(np.sin(a * i + 1.0) + 0.3 * np.cos(b * i), 6)


def percentile_bootstrap(values):
    result = stats.bootstrap((values,), np.mean, n_resamples=400_000, method="percentile", batch=10_000, rng=np.random.default_rng(7))
    return [float(value) for value in (np.mean(values), *result.confidence_interval)]


def main():
    for successes, trials in [(7, 10), (0, 12), (12, 12), (1, 1), (263, 400), (9000, 10000)]:
        interval = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
        print("wilson", successes, trials, float(interval.low), float(interval.high))

    x, y = wave(40, 0.7, 0.3), wave(40, 0.9, 1.1)
    print("mean and sd of x", float(x.mean()), float(x.std(ddof=1)))
    print("quantiles of x", [float(q) for q in np.quantile(x, [0, 0.025, 0.1, 0.5, 0.975, 1])])
    print("pearson, spearman", float(stats.pearsonr(x, y)[0]), float(stats.spearmanr(x, y)[0]))
    coarse_x, coarse_y = np.round(2 * x), np.round(y + 0.25)  # many ties
    print("spearman of rounded", float(stats.spearmanr(coarse_x, coarse_y)[0]))
    print("histogram of x", np.histogram(x, bins=[-1.5, -1, -0.5, 0, 0.5, 1, 1.5])[0])

    print("bootstrap x", percentile_bootstrap(x))
    print("bootstrap x - y", percentile_bootstrap(x - y))
    wins = np.where(coarse_x > coarse_y, 1.0, np.where(coarse_x < coarse_y, 0.0, 0.5))
    print("bootstrap wins of rounded x over y", percentile_bootstrap(wins))


main()
