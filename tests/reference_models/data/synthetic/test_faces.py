"""Faces: the action units do what they are named after, everything comes from the seed, styles differ."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from reference_models.data import EXPRESSIONS, FaceDataset, Labels, collate
from reference_models.data.synthetic import UNITS, SyntheticPictures, contact_sheet, list_styles, plan
from reference_models.data.synthetic import action_units as units_of
from reference_models.data.synthetic.head import TEETH, load_head
from reference_models.data.synthetic.people import draw_identity
from reference_models.data.synthetic.scene import MAX_YAW, draw_frame
from reference_models.data.synthetic.shots import Shot
from reference_models.data.synthetic.styles import head_shapes, style
from reference_models.faces.landmarks import choose, detect

STUDIO = style("studio")


def shot(strengths, identity=0, frame=1, name="studio") -> Shot:
    return Shot(name, 0, identity, 0, frame, tuple(strengths.items()), None)


def moved(strengths, identity=0) -> np.ndarray:
    """Return how far the landmarks move by action units alone, in pixels: pose, camera and gaze stay."""
    return shot(strengths, identity).take(200).landmarks - shot({}, identity).take(200).landmarks


def gap(points, above, below) -> float:
    return float((points[below, 1] - points[above, 1]).mean())


@pytest.mark.parametrize("identity", [1, 4])
def test_action_units_move_what_they_are_named_after(identity: int):
    brows_inner, brows_outer, brows = [20, 21, 22, 23], [17, 18, 25, 26], list(range(17, 27))
    corners, upper_lids, lower_lids = [48, 54], [37, 38, 43, 44], [40, 41, 46, 47]
    lips = ([61, 62, 63], [67, 66, 65])
    assert moved({1: 5}, identity)[brows_inner, 1].mean() < -2
    assert moved({2: 5}, identity)[brows_outer, 1].mean() < -2
    assert moved({4: 5}, identity)[brows, 1].mean() > 1
    assert gap(moved({5: 5}, identity), upper_lids, lower_lids) > 0.7
    assert gap(moved({7: 5}, identity), upper_lids, lower_lids) < -0.7
    assert moved({12: 5}, identity)[corners, 1].mean() < -2
    assert moved({15: 5}, identity)[corners, 1].mean() > 2
    assert np.ptp(moved({12: 5}, identity)[corners, 0]) > 2
    assert np.ptp(moved({20: 5}, identity)[corners, 0]) > 2
    assert moved({17: 5}, identity)[[57, 58, 56], 1].mean() < -1
    assert moved({9: 5}, identity)[[31, 35], 1].mean() < -1
    openings = [gap(moved({unit: 5}, identity), *lips) for unit in (25, 26, 27)]
    assert openings[0] > 2
    assert openings[1] < openings[2]


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_is_seen_and_grows_with_its_level(unit: int):
    rest = shot({}).take(96).image.astype(int)
    change = [np.abs(shot({unit: level}).take(96).image - rest).mean() for level in (1, 3, 5)]
    assert 0 < change[0] < change[1] < change[2]


def test_a_smile_with_parted_lips_shows_teeth_and_a_resting_mouth_none():
    def teeth(strengths) -> float:
        return float(np.mean([_teeth_pixels(strengths, identity) for identity in range(4)]))

    assert teeth({}) < 6
    assert teeth({6: 4, 12: 4, 25: 4}) > 60


def _teeth_pixels(strengths, identity: int) -> int:
    from reference_models.data.synthetic import render

    person = draw_identity(0, STUDIO, identity)
    frame = draw_frame(0, STUDIO, identity, 1, strengths, person)
    seen, parts, _ = render.visible(person, frame, 112)
    return int((parts[seen[seen >= 0]] == TEETH).sum())


def test_pixels_follow_from_the_seed_alone():
    image = shot({6: 3, 12: 4, 25: 2}, identity=3).take(64).image
    again = shot({6: 3, 12: 4, 25: 2}, identity=3).take(64).image
    other = replace(shot({6: 3, 12: 4, 25: 2}, identity=3), seed=1).take(64).image
    np.testing.assert_array_equal(image, again)
    assert np.abs(image.astype(int) - other).mean() > 10
    # the same on every machine: whoever changes how faces look changes this line, and says so in the changelog
    assert hashlib.sha256(image.tobytes()).hexdigest()[:16] == "221c75e8f494c371"


def test_landmarks_scale_with_the_picture_and_dlib_agrees_with_them():
    small, large = (shot({12: 3}, identity=1).take(size) for size in (150, 300))
    np.testing.assert_allclose((small.landmarks + 0.5) * 2, large.landmarks + 0.5, atol=1e-9)
    for identity in range(5):
        picture = shot({25: 3}, identity).take(300)
        found = choose(detect(picture.image)).points
        eyes = np.linalg.norm(picture.landmarks[36] - picture.landmarks[45])
        assert np.linalg.norm(found - picture.landmarks, axis=1).mean() / eyes < 0.04


def test_gains_and_angles_keep_their_limits_and_neighbouring_frames_differ_little():
    for identity in range(20):
        person = draw_identity(5, STUDIO, identity)
        gains = np.array(list(person.gains.values()))
        assert 0.78 <= gains.min() < 0.9
        assert 1.05 < gains.max() <= 1.22
        frames = [draw_frame(5, STUDIO, identity, frame, {}, person) for frame in range(6)]
        poses = np.array([frame.pose for frame in frames])
        assert np.abs(poses[:, 0]).max() <= MAX_YAW
        assert np.ptp(poses, axis=0).max() <= 4
        assert len({frame.backdrop for frame in frames}) == len({frame.light for frame in frames}) == 1


def test_sides_differ_a_little_from_each_other():
    weights = draw_frame(0, STUDIO, 0, 1, {12: 5}, draw_identity(0, STUDIO, 0)).weights[12]
    assert 0 < abs(weights[0] - weights[1]) < 0.25


def test_styles_share_no_target_of_the_head():
    names = load_head().shapes.names
    studio, held_out = (set(head_shapes(style(name), names)) for name in ("studio", "held-out"))
    assert list_styles() == ["held-out", "studio"]
    assert len(studio) > 100
    assert len(held_out) > 80
    assert not studio & held_out
    first, second = (shot({}, name=name).take(64).image.astype(int) for name in list_styles())
    assert np.abs(first - second).mean() > 10


def test_a_plan_of_frames_has_a_neutral_one_first_and_levels_of_all_units():
    shots = plan("frames", identities=300, frames=4)
    assert len(shots) == 1500
    assert all(not shot.strengths for shot in shots[::5])
    levels = np.array([shot.record().levels for shot in shots if shot.frame])
    present = dict(zip(UNITS, (levels > 0).mean(0), strict=True))
    assert all(0.02 < present[unit] < 0.5 for unit in UNITS), present
    assert set(np.unique(levels)) == set(range(6))
    jaw = levels[:, [UNITS.index(26), UNITS.index(27)]].max(1)
    assert (levels[:, UNITS.index(25)] >= np.where(jaw >= 2, jaw, 0)).all()


def test_sequences_rise_from_neutral_to_the_apex():
    shots = plan("sequences", identities=7, frames=6)
    for start in range(0, len(shots), 6):
        strengths = [sum(dict(shot.strengths).values()) for shot in shots[start : start + 6]]
        assert strengths[0] == 0
        assert strengths == sorted(strengths)
    assert {shot.expression for shot in shots} == {*EXPRESSIONS} - {"neutral"} | {None}
    assert all(isinstance(level, int) for shot in shots for level in shot.levels.values())


def test_portraits_show_the_expressions_evenly_by_their_units():
    shots = plan("portraits", identities=7, frames=7)
    assert sorted(shot.expression for shot in shots) == sorted(list(EXPRESSIONS) * 7)
    for one in shots:
        acting = set(dict(one.strengths))
        assert any(set(units) <= acting for units in units_of.EXPRESSIONS[str(one.expression)])


def test_a_torch_dataset_renders_on_the_fly():
    pictures = SyntheticPictures(plan("frames", identities=2, frames=2, seed=9), size=48)
    data = FaceDataset(pictures, pictures.records, Labels.of_units((1, 12, 25)), threshold=2, neutral=True)
    batch = collate([data[index] for index in range(len(data))])
    assert batch.image.shape == batch.neutral.shape == (6, 3, 48, 48)
    assert (batch.image[0] == batch.neutral[1]).all()
    assert not (batch.image[1] == batch.neutral[1]).all()
    assert [record.subject for record in batch.records] == ["studio-9-0000"] * 3 + ["studio-9-0001"] * 3
    assert pictures.landmarks(pictures.records[0]).shape == (68, 2)


def test_a_contact_sheet_has_a_person_a_row():
    sheet = contact_sheet(plan("frames", identities=3, frames=4), rows=2, columns=3, size=32)
    assert sheet.shape == (2 * 36 + 4, 3 * 36 + 4, 3)
    assert (sheet[:4] == 255).all()
    assert sheet[4:36, 4:36].std() > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "films"}, "kind must be one of frames, sequences, portraits, got 'films'"),
        ({"identities": 0}, "identities must be"),
        ({"frames": 0}, "frames must be"),
        ({"seed": -1}, "seed must be an int of at least 0, got -1"),
        ({"style_name": "oil"}, "style must be one of held-out, studio, got 'oil'"),
    ],
)
def test_what_cannot_be_planned_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan(**{"kind": "frames", "identities": 1, "frames": 1, **arguments})


def test_a_foreign_record_and_a_doubled_shot_are_refused():
    shots = plan("frames", identities=1, frames=1)
    pictures = SyntheticPictures(shots, size=32)
    with pytest.raises(ValueError, match="record must be one of the shots' records, got 'x'"):
        pictures.image(replace(pictures.records[0], image="x"))
    with pytest.raises(ValueError, match="shots must differ in person, session or frame, got 2 twice"):
        SyntheticPictures(shots + shots)
