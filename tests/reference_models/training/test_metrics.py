"""Scores: by hand, against oracles, with units that nobody shows, and over two processes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.multiprocessing
from torchmetrics.classification import MultilabelF1Score

from reference_models.data import Batch, Labels
from reference_models.training.agreement import IntraclassCorrelation
from reference_models.training.metrics import ExpressionScores, UnitScores, scores
from tests.oracles import scores as oracle

UNITS = Labels.of_units((1, 2, 4, 25))
FACES = Labels.of_expressions(("anger", "fear", "neutral"))


def batch(target, levels=None):
    return Batch(torch.zeros(len(target), 3, 1, 1), target, levels, None, None, ())


def of(labels, logits, target, **options):
    found = UnitScores(labels, **options) if labels.task == "action units" else scores(labels)
    for part in range(0, len(target), 7):
        found.update(logits[part : part + 7], batch(target[part : part + 7]))
    return found


def test_f1_and_accuracy_by_hand():
    """AU1: 2 hits, 1 false alarm, 1 miss: 4/6. AU2: nothing said, 1 there: 0. AU4: perfect. AU25: nobody shows it."""
    target = torch.tensor([[1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0.0]])
    logits = torch.tensor([[0.2, -1, 5, -1], [0.9, -2, -1, -1], [-3, -1, -1, -1], [0.1, -1, 0.5, 1.0]])
    found = of(UNITS, logits, target)
    values = {name: float(value) for name, value in found.compute().items()}
    assert values["f1/AU1"] == pytest.approx(2 / 3)
    assert values["f1/AU2"] == 0
    assert values["f1/AU4"] == 1
    assert math.isnan(values["f1/AU25"])
    assert values["f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert values["without_positives"] == 1
    assert [values[f"accuracy/{name}"] for name in UNITS.names] == [0.5, 0.75, 1.0, 0.75]
    assert values["accuracy"] == 0.75
    assert found.positives() == {"AU1": 3, "AU2": 1, "AU4": 2, "AU25": 0}
    zero = of(UNITS, logits, target, absent="zero").compute()
    assert float(zero["f1"]) == pytest.approx((2 / 3 + 0 + 1 + 0) / 4)
    assert zero["f1/AU25"].isnan()


def test_f1_of_random_frames_is_the_oracles_and_that_of_torchmetrics():
    target = (torch.rand(300, 4) < torch.tensor([0.5, 0.02, 0.3, 0.9])).float()
    logits = torch.randn(300, 4) + target
    values = of(UNITS, logits, target).compute()
    found = [float(values[f"f1/{name}"]) for name in UNITS.names]
    assert found == pytest.approx(oracle.f1(logits > 0, target), abs=1e-12)
    theirs = MultilabelF1Score(4, average=None)(logits.sigmoid(), target.int())
    assert found == pytest.approx(theirs.tolist(), abs=1e-6)
    assert float(values["f1"]) == pytest.approx(sum(found) / 4)


def test_logits_between_0_and_1_are_no_probabilities():
    target = torch.ones(4, 4)
    values = of(UNITS, torch.full((4, 4), 0.1), target).compute()
    assert float(values["f1"]) == 1


def test_expressions_by_hand():
    """Of anger 3 of 4, of fear 1 of 2; nobody is neutral, and one is taken for it."""
    target = torch.tensor([0, 0, 0, 0, 1, 1])
    said = torch.tensor([0, 0, 0, 1, 1, 2])
    found = of(FACES, torch.nn.functional.one_hot(said, 3).float(), target)
    assert found.confusion().tolist() == [[3, 1, 0], [0, 1, 1], [0, 0, 0]]
    values = {name: float(value) for name, value in found.compute().items()}
    assert values["accuracy"] == pytest.approx(4 / 6)
    assert values["mean_class_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert values["f1/anger"] == pytest.approx(6 / 7)
    assert values["f1/fear"] == pytest.approx(1 / 2)
    assert math.isnan(values["f1/neutral"])
    assert math.isnan(values["accuracy/neutral"])
    assert values["f1"] == pytest.approx((6 / 7 + 1 / 2) / 2)
    assert values["challenge_score"] == pytest.approx(0.67 * (6 / 7 + 1 / 2) / 2 + 0.33 * 4 / 6)
    assert values["without_positives"] == 1
    found.reset()
    found.update(torch.eye(3), batch(torch.arange(3)))
    assert found.confusion().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_lla_nets_printed_result_follows_from_its_printed_scores():
    assert round(0.67 * 0.38 + 0.33 * 0.49, 2) == 0.42


def test_icc_by_hand():
    """x = 1, 2, 3 and y = 2, 2, 5: S_xy = 3, S_xx = 2, S_yy = 6, so 2 * 3 / 8. An offset of a judge does not count."""
    metric = IntraclassCorrelation(3)
    x = torch.tensor([1.0, 2, 3])
    y = torch.tensor([2.0, 2, 5])
    metric.update(torch.stack([x, x, x], 1), torch.stack([y, x + 7, 4 - x], 1))
    torch.testing.assert_close(metric.compute(), torch.tensor([0.75, 1.0, -1.0], dtype=torch.float64))


def test_icc_is_the_oracles_in_any_batches_and_without_what_nobody_scored():
    levels = torch.randint(0, 6, (200, 3)).float()
    predicted = levels + torch.randn(200, 3) * torch.tensor([0.5, 2, 10])
    missing = torch.rand(200, 3) < 0.1
    metric = IntraclassCorrelation(3)
    for start, stop in ((0, 1), (1, 90), (90, 200)):
        part = levels[start:stop].masked_fill(missing[start:stop], math.nan)
        metric.update(predicted[start:stop], part)
    expected = [oracle.icc31(predicted[~missing[:, u], u], levels[~missing[:, u], u]) for u in range(3)]
    assert metric.compute().tolist() == pytest.approx(expected, abs=1e-10)


def test_icc_of_what_does_not_vary():
    metric = IntraclassCorrelation(3)
    assert metric.sums.dtype == torch.float64
    constant = torch.full((50, 1), 0.1)
    varying = torch.rand(50, 1)
    metric.update(torch.cat([constant, varying, constant], 1), torch.cat([constant * 0, constant * 0, varying], 1))
    found = metric.compute()
    assert found[0].isnan()
    assert found[1:].abs().max() < 1e-6


@pytest.mark.parametrize(
    ("labels", "logits", "target", "message"),
    [
        (UNITS, torch.zeros(2, 3), torch.zeros(2, 4), r"logits must have shape \(2, 4\), got \(2, 3\)"),
        (UNITS, torch.full((2, 4), math.nan), torch.zeros(2, 4), "logits must be finite"),
        (FACES, torch.zeros(2, 4), torch.zeros(2).long(), r"logits must have shape \(2, 3\), got \(2, 4\)"),
        (FACES, torch.full((2, 3), math.inf), torch.zeros(2).long(), "logits must be finite"),
    ],
)
def test_what_does_not_fit(labels, logits, target, message):
    with pytest.raises(ValueError, match=message):
        scores(labels).update(logits, batch(target))


def test_bad_arguments():
    with pytest.raises(ValueError, match="labels must be those of action units"):
        UnitScores(FACES)
    with pytest.raises(ValueError, match="labels must be those of expressions"):
        ExpressionScores(UNITS)
    with pytest.raises(ValueError, match="absent must be one of 'leave out', 'zero', got 'drop'"):
        UnitScores(UNITS, absent="drop")
    with pytest.raises(ValueError, match="num_units must be at least 1, got 0"):
        IntraclassCorrelation(0)
    with pytest.raises(ValueError, match=r"must have shape \(B, 2\), got \(3, 2\) and \(3, 1\)"):
        IntraclassCorrelation(2).update(torch.zeros(3, 2), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="predicted must be finite"):
        IntraclassCorrelation(1).update(torch.full((3, 1), math.inf), torch.zeros(3, 1))


def everything():
    """Return predictions and truth for 21 frames, the same in every process."""
    draw = torch.Generator().manual_seed(8)
    return (
        torch.randn(21, 4, generator=draw),
        torch.randint(0, 2, (21, 4), generator=draw).float(),
        torch.randint(0, 6, (21, 4), generator=draw).float(),
        torch.randn(21, 3, generator=draw),
        torch.randint(0, 3, (21,), generator=draw),
    )


def computed(rows):
    logits, target, levels, faces, shown = (each[rows] for each in everything())
    units, expressions, icc = scores(UNITS), scores(FACES), IntraclassCorrelation(4)
    units.update(logits, batch(target))
    expressions.update(faces, batch(shown))
    icc.update(logits, levels)
    values = [*units.compute().values(), *expressions.compute().values(), *icc.compute()]
    return [float(value) for value in values]


def one_of_two(rank, folder):
    """Score every second frame in one of two processes, which add up their counts."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(torch.tensor(computed(slice(rank, None, 2)), dtype=torch.float64), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_score_like_one(tmp_path):
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.tolist() == pytest.approx(computed(slice(None)), abs=1e-12)
