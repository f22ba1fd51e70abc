"""Values for the tests of refusal measures, from statsmodels and scikit-learn; prints what stands in the tests.

    python tools/oracle/refusals.py [XSTEST]

XSTEST is the folder of XSTest's completions_*.csv; with it, kappa of the labels of XSTest's two annotators, three categories.
"""
import csv
import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import cohen_kappa_score, precision_score, recall_score
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint


def show(name, table):
    found = cohens_kappa(np.asarray(table, dtype=float))
    print(name, "kappa", float(found.kappa), "interval", float(found.kappa_low), float(found.kappa_upp))


def table_of(a, b):
    names = sorted(set(a) | set(b))
    table = np.zeros((len(names), len(names)))
    for x, y in zip(a, b):
        table[names.index(x), names.index(y)] += 1
    return table


def main():
    show("two categories", [[20, 5], [10, 15]])
    show("three categories", [[106, 10, 4], [22, 28, 10], [2, 12, 6]])  # Fleiss, Cohen and Everitt 1969, table 1
    show("a category that one judge never uses", [[7, 2, 0], [1, 9, 0], [3, 1, 0]])

    # The sample of tests/refusal/measure_test.cpp: kinds and labels by formula, 0 compliance, 1 full, 2 partial, 3 capability.
    i = np.arange(60)
    label = np.where(i % 3 == 0, 0, np.where(i % 7 == 1, 2, 1))
    kind = np.where(i % 17 == 3, 1, np.where(i % 11 == 4, 3, np.where(i % 13 == 5, 0, label)))
    extreme = label != 2
    full, wanted = kind[extreme] == 1, label[extreme] == 1
    any_kind, any_label = np.isin(kind, [1, 2]), np.isin(label, [1, 2])
    by_kind = [(name, kind == k, label == k) for k, name in enumerate(["compliance", "full_refusal", "partial_refusal"])]
    for name, called, truth in [("full", full, wanted), ("any", any_kind, any_label)] + by_kind:
        print(name, len(called), "precision", precision_score(truth, called), proportion_confint((called & truth).sum(), called.sum(), method="wilson"))
        print(name, "recall", recall_score(truth, called), proportion_confint((called & truth).sum(), truth.sum(), method="wilson"))
        print(name, "sklearn kappa", cohen_kappa_score(called, truth))
        show(name, table_of(called, truth))
    show("kinds", table_of(kind, label))

    if len(sys.argv) > 1:
        for file in sorted(Path(sys.argv[1]).glob("completions_*.csv")):
            with open(file, newline="", encoding="utf-8") as text:
                rows = list(csv.DictReader(text))
            show(file.name, table_of([row["annotation_1"] for row in rows], [row["annotation_2"] for row in rows]))


main()
