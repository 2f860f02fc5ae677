"""Samplers: TRA-Net's probabilities by hand and by drawing, LLA-Net's counts as its tables print them."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from reference_models.data import Record
from reference_models.data.samplers import LLA_NET_EXTRA, au_weights, supplement, tra_net_sampler, undersample

TABLE_1 = {
    "anger": 25_634,
    "disgust": 11_490,
    "fear": 19_279,
    "happiness": 171_902,
    "sadness": 102_934,
    "surprise": 43_306,
    "neutral": 546_039,
}
TABLE_2 = {**TABLE_1, "happiness": 86_164, "neutral": 46_073}


def test_probabilities_by_hand():
    """AU a in frames 0 and 1, AU b in 1, c in none; frames 2 to 5 idle: each unit and idleness draw a third."""
    targets = torch.zeros(6, 3)
    targets[0, 0] = targets[1, 0] = targets[1, 1] = 1
    expected = torch.tensor([1 / 2, 1 / 2 + 1, 1 / 4, 1 / 4, 1 / 4, 1 / 4], dtype=torch.float64) / 3
    torch.testing.assert_close(au_weights(targets), expected)
    expected = torch.tensor([1 / 2, 3 / 2, 0, 0, 0, 0], dtype=torch.float64) / 2
    torch.testing.assert_close(au_weights(targets, neutral=0), expected)


def test_rare_units_are_drawn_as_often_as_frequent_ones():
    targets = torch.zeros(10_000, 2)
    targets[:5000, 0] = 1
    targets[-20:, 1] = 1
    sampler = tra_net_sampler(targets, generator=torch.Generator().manual_seed(1))
    drawn = list(sampler)
    assert len(drawn) == 64 * 100
    shares = targets[drawn].mean(0)
    assert ((shares - 1 / 3).abs() < 0.03).all()
    assert drawn != list(sampler)
    assert drawn == list(tra_net_sampler(targets, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        (torch.zeros(3), {}, r"shape \(N, A\), got shape \(3,\)"),
        (torch.full((2, 2), 0.5), {}, "targets must be 0 or 1"),
        (torch.zeros(2, 2), {"neutral": 0}, "at least one frame that can be drawn"),
        (torch.zeros(2, 2), {"neutral": -1}, "neutral must be at least 0, got -1"),
        (torch.zeros(2, 2), {"neutral": float("nan")}, "neutral must be at least 0, got nan"),
    ],
)
def test_targets_that_cannot_be_drawn_from(targets, options, message):
    with pytest.raises(ValueError, match=message):
        au_weights(targets, **options)


def run(expression, frames, sequence="v", start=1):
    return [Record("", "", sequence, n, expression=expression) for n in range(start, start + frames)]


def test_of_each_run_every_kth_frame_is_kept_with_the_first():
    records = [
        *run("neutral", 25),  # 1, 13, 25
        *run("happiness", 3, start=26),  # 26, 28
        *run("neutral", 1, start=29),  # 29
        *run("fear", 2, start=30),  # both
        *run("neutral", 5, start=33),  # 33; number 32 is missing
        *run("neutral", 2, start=46),  # 46: what lies between is missing, so that a new run begins
        *run("neutral", 2, "w", start=48),  # 48 of another video
    ]
    kept = [(record.sequence, record.frame) for record in undersample(records)]
    assert kept == [("v", n) for n in (1, 13, 25, 26, 28, 29, 30, 31, 33, 46)] + [("w", 48)]
    assert undersample(records, {}) == records
    with pytest.raises(ValueError, match=r"every\['neutral'\] must be at least 1, got 0"):
        undersample(records, {"neutral": 0})


def test_the_counts_of_table_2():
    """Runs as long as the two tables together demand: 426 odd ones of happiness, 622 of neutral that end early."""
    lengths = {
        "happiness": [201] * 426 + [2] * ((171_902 - 201 * 426) // 2),
        "neutral": [601] * 621 + [6] + [12] * ((546_039 - 601 * 621 - 6) // 12),
    }
    assert {name: sum(each) for name, each in lengths.items()} == {name: TABLE_1[name] for name in lengths}
    for name, each in lengths.items():
        records = (record for number, length in enumerate(each) for record in run(name, length, f"{name} {number}"))
        assert len(undersample(records)) == TABLE_2[name]
    assert sum(TABLE_1.values()) == 920_584
    assert sum(TABLE_2.values()) + sum(LLA_NET_EXTRA.values()) == 370_376


def test_the_supplement_takes_the_first_source_before_the_second():
    affect_net = (
        run("anger", 30_000, "a") + run("disgust", 4_303, "a") + run("fear", 6_878, "a") + run("neutral", 9, "a")
    )
    raf_db = run("disgust", 877, "r") + run("anger", 867, "r")
    first, second = supplement([affect_net, raf_db])
    assert Counter(r.expression for r in first) == {"anger": 24_242, "disgust": 4_303, "fear": 6_192}
    assert Counter(r.expression for r in second) == {"disgust": 5_062 - 4_303}
    assert [r.frame for r in first if r.expression == "anger"] != list(range(1, 24_243))
    assert [r.expression for r in first] == sorted(r.expression for r in first)  # in the order of the source
    assert supplement([affect_net, raf_db])[0] == first
    assert supplement([affect_net, raf_db], seed=1)[0] != first
    with pytest.raises(ValueError, match=r"asks for 5,062 frames of disgust, and the sources have 4,303"):
        supplement([affect_net])
