"""Thresholds: as many violations found as the share of false alarms allows."""
import numpy as np

import calibrate


def test_few_fine_rows_are_flagged():
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.normal(3, 1, 200), rng.normal(-3, 1, 200)])
    labels = np.concatenate([np.ones(200), np.zeros(200)])
    fine = [rng.normal(0.5, 1, 300), rng.normal(-1, 1, 300)]
    assert calibrate.flagged(fine) > 0.3
    free, held = calibrate.fit_bias(logits, labels), calibrate.fit_bias(logits, labels, fine)
    assert abs(free) < 0.1 and held < free and calibrate.flagged(fine, held) <= calibrate.MOST_FLAGGED
    assert ((logits + held > 0) == labels).mean() > 0.9


def test_the_mean_is_over_questions():
    assert calibrate.flagged([np.full(10, 1.0), np.full(1000, -1.0)]) == 0.5
    assert calibrate.flagged([]) == 0
