"""Same or not: pairs, error rates, enrolment, the loss."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics

from mmkeras.tasks import TASKS
from mmkeras.tasks import verification as page

Verification = TASKS["verification"]


@pytest.fixture
def judged(rng):
    """(truth, embeddings) of 4 people, 10 rows each, near a direction a person."""
    centres = rng.standard_normal((4, 16))
    truth = np.repeat(np.arange(4.0), 10)[:, None].astype("float32")
    rows = np.repeat(centres, 10, axis=0) + 0.7 * rng.standard_normal((40, 16))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return truth, rows.astype("float32")


def test_people_who_were_never_trained_on_are_told_apart():
    task = Verification(["ann", "bob"])
    target = task.target(["bob", "eve", "ann", "eve", "mallory"])
    assert target[:, 0].tolist() == [1, 2, 0, 2, 3]


def test_the_loss_is_the_papers_equation(judged):
    truth, rows = judged
    found = Verification(["a", "b"], temperature=0.2).loss().call(truth, rows)
    for anchor in (0, 17):
        others = [at for at in range(40) if at != anchor]
        logits = {at: float(rows[anchor] @ rows[at]) / 0.2 for at in others}
        total = np.log(sum(np.exp(value) for value in logits.values()))
        same = [at for at in others if truth[at, 0] == truth[anchor, 0]]
        expected = -np.mean([logits[at] - total for at in same])
        np.testing.assert_allclose(found[anchor], expected, rtol=1e-4)


def test_a_row_without_another_of_its_person_counts_nothing(judged):
    truth, rows = judged
    alone = truth.copy()
    alone[0] = 99
    assert float(Verification(["a", "b"]).loss().call(alone, rows)[0]) == 0.0


def test_error_rates_are_those_of_all_pairs(judged):
    truth, rows = judged
    _, same, cosines = page.pairs(truth, rows)
    assert len(same) == 40 * 39 // 2 and same.sum() == 4 * 45
    scores = Verification(list("abcd")).scores(truth, rows)
    assert scores["roc_auc"] == pytest.approx(metrics.roc_auc_score(same, cosines))
    rate, threshold = page.scoring.equal_error(same, cosines)
    accepted = (cosines[~same] >= threshold).mean()
    rejected = (cosines[same] < threshold).mean()
    assert abs(accepted - rejected) < 0.02
    assert scores["equal_error_rate"] == pytest.approx(
        (accepted + rejected) / 2, abs=1e-6
    )
    curve = np.array(scores["roc"])
    assert (np.diff(curve, axis=0) >= 0).all() and curve[-1].tolist() == [1, 1]


def test_the_train_rows_are_enrolled_and_told(judged):
    truth, rows = judged
    labels = ["ann", "bob", "cem", "dan"]
    decision = Verification(labels).choose({"train": judged, "valid": judged})
    task = Verification(labels, decision, embedding_dim=16)
    scores = task.scores(truth, rows)
    assert scores["identified"] == 1.0 and scores["pair_accuracy"] > 0.9
    right = [labels[int(at)] for at in truth[:, 0]]
    told = task.decode(rows)
    assert {name for name, true in zip(told, right, strict=True) if name != true} <= {
        ""
    }
    stranger = -np.ones((1, 16), "float32") / 4
    served = task.serve(tf.constant(np.concatenate([rows[:1], stranger])))
    assert served["label"].numpy().tolist() == [b"ann", b""]
    assert (
        -1 <= served["similarity"][1] < task.threshold <= served["similarity"][0] <= 1
    )


def test_without_pairs_of_both_kinds_nothing_is_claimed(judged):
    truth, rows = judged
    scores = Verification(["a", "b"]).scores(truth[:5], rows[:5])
    assert np.isnan(scores["roc_auc"]) and scores["roc"] == []
