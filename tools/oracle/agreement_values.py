"""Values for tests/evaluation/statistics/agreement_test.cpp and rates_test.cpp from the PyPI packages irrCAC and scipy; prints what stands
in the tests. The data sets are those of K. L. Gwet's R package irrCAC, which come with the Python one, and one by formula.

    pip install irrCAC scipy && python tools/oracle/agreement_values.py
"""
import math

import pandas as pd
from irrCAC import datasets
from irrCAC.raw import CAC
from scipy import stats


def show(name, table, categories):
    for weights in ["identity", "linear", "quadratic", "ordinal"]:
        result = CAC(table, weights=weights, categories=categories, digits=10).gwet()["est"]
        print(name, weights, *(float(result[key]) for key in ("coefficient_value", "se", "pa", "pe")), result["confidence_interval"])


def rated(count, raters):
    """The tests' sample by formula: five categories, of which the first is never used, with gaps: some items have no rater or one."""
    rows = []
    for i in range(count):
        row = []
        for rater in range(raters):
            value = round(3 + 1.6 * math.sin(0.9 * i) + 0.8 * math.cos(1.7 * i + 2.3 * rater))
            row.append(math.nan if i % 10 == 9 or (i * (rater + 2) + 5 * rater) % 7 < 4 else float(min(max(value, 2), 5)))
        rows.append(row)
    return pd.DataFrame(rows).dropna(how="all")


def main():
    show("raw4raters", datasets.raw_4raters(), [1, 2, 3, 4, 5])
    show("5 observers", datasets.raw_5observers(), None)
    sample = rated(60, 4)
    print("sample: items", len(sample), "rated once", int((sample.count(axis=1) == 1).sum()))
    show("sample", sample, [1, 2, 3, 4, 5])
    for events, exposure in [(0, 10.0), (1, 1.0), (5, 2.5), (10, 1.0), (17, 350.0), (100, 40.0)]:
        low = 0.0 if events == 0 else stats.chi2.ppf(0.025, 2 * events) / 2
        print("rate", events, exposure, events / exposure, float(low / exposure), float(stats.chi2.ppf(0.975, 2 * events + 2) / 2 / exposure))


main()
