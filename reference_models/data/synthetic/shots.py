"""Plans the pictures of a synthetic dataset: person, session and action units of each.

A shot contains no pixels: ten thousand are planned in a second, and each can be rendered in any process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from reference_models.checks import positive_int
from reference_models.data.labels import EXPRESSIONS
from reference_models.data.records import Record
from reference_models.data.synthetic.action_units import UNITS
from reference_models.data.synthetic.people import Identity, draw_identity
from reference_models.data.synthetic.render import Picture, render
from reference_models.data.synthetic.scene import draw_expression, draw_frame, draw_levels
from reference_models.data.synthetic.styles import style

FRAMES, SEQUENCES, PORTRAITS = "frames", "sequences", "portraits"
_APEX_EVERY = 2  # every second sequence shows an expression, the others single units and their combinations


@dataclass(frozen=True)
class Shot:
    """The plan of one picture.

    Attributes:
        style: Name of the style.
        seed: The user's seed.
        identity: Number of the person, from 0.
        session: Number of the session; background, light and camera are the same in all its frames.
        frame: Number of the frame in the session, from 0; frame 0 is neutral.
        strengths: Pairs of action unit and level, 0 to 5, for the active units; fractional between neutral and apex.
        expression: Name of the expression it shows; None if its action units were drawn without one.
    """

    style: str
    seed: int
    identity: int
    session: int
    frame: int
    strengths: tuple[tuple[int, float], ...]
    expression: str | None

    @property
    def subject(self) -> str:
        """Name of the person, unique over styles and seeds."""
        return f"{self.style}-{self.seed}-{self.identity:04d}"

    @property
    def levels(self) -> Mapping[int, int]:
        """Active action unit to its level, rounded to whole numbers like a coder's scores."""
        return {unit: int(strength + 0.5) for unit, strength in self.strengths}

    @property
    def neutral(self) -> Shot:
        """The session's first frame, with the neutral face."""
        return Shot(self.style, self.seed, self.identity, self.session, 0, (), self.expression and "neutral")

    def record(self) -> Record:
        """Return the shot's record; its ``image`` is a unique name, not a path on disk."""
        levels = self.levels
        sequence = f"{self.subject}/{self.session:03d}"
        return Record(
            image=f"{sequence}/{self.frame:03d}",
            subject=self.subject,
            sequence=sequence,
            frame=self.frame,
            units=UNITS,
            levels=tuple(levels.get(unit, 0) for unit in UNITS),
            expression=self.expression,
            neutral=f"{sequence}/000",
        )

    def take(self, size: int) -> Picture:
        """Render the picture, ``size`` x ``size`` pixels."""
        person = _person(self.style, self.seed, self.identity)
        moment = draw_frame(
            self.seed, style(self.style), self.identity, self.frame, dict(self.strengths), person, self.session
        )
        return render(person, moment, size=size)


def plan(kind: str, *, identities: int, frames: int, seed: int = 0, style_name: str = "studio") -> list[Shot]:
    """Return the shots of a dataset, ordered by person.

    Args:
        kind: ``frames``: one session with a neutral frame and ``frames`` expressive ones, as in DISFA+; ``sequences``:
            two sessions of ``frames`` frames from the neutral face to the apex, as in CK+; ``portraits``: ``frames``
            sessions of one frame, each with one of the seven expressions, as in RAF-DB.
        identities: Number of persons.
        frames: Number of frames or sessions, see ``kind``.
        seed: Seed of everything that is drawn.
        style_name: One of :func:`~reference_models.data.synthetic.styles.list_styles`.

    Raises:
        TypeError: If a number is not an int.
        ValueError: If a number is out of range, or a name is unknown.
    """
    positive_int("identities", identities)
    positive_int("frames", frames)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an int of at least 0, got {seed!r}")
    style(style_name)
    planners = {FRAMES: _frames, SEQUENCES: _sequences, PORTRAITS: _portraits}
    if kind not in planners:
        raise ValueError(f"kind must be one of {', '.join(planners)}, got {kind!r}")
    return [shot for identity in range(identities) for shot in planners[kind](style_name, seed, identity, frames)]


def _frames(name: str, seed: int, identity: int, frames: int) -> list[Shot]:
    shots = [Shot(name, seed, identity, 0, 0, (), None)]
    for frame in range(1, frames + 1):
        levels = draw_levels(seed, style(name), identity, frame)
        shots.append(Shot(name, seed, identity, 0, frame, tuple(levels.items()), None))
    return shots


def _sequences(name: str, seed: int, identity: int, frames: int) -> list[Shot]:
    shots = []
    for session in range(2):
        expression = None
        if session % _APEX_EVERY == 0:
            expression = EXPRESSIONS[(identity + session) % (len(EXPRESSIONS) - 1)]
            apex = draw_expression(seed, style(name), identity, frames - 1, expression, session)
        else:
            apex = draw_levels(seed, style(name), identity, frames - 1, session)
        for frame in range(frames):
            t = frame / (frames - 1) if frames > 1 else 1.0
            ramp = t * t * (3 - 2 * t)
            strengths = tuple((unit, level * ramp) for unit, level in apex.items() if frame)
            shots.append(Shot(name, seed, identity, session, frame, strengths, expression))
    return shots


def _portraits(name: str, seed: int, identity: int, frames: int) -> list[Shot]:
    shots = []
    for session in range(frames):
        expression = EXPRESSIONS[(identity + session) % len(EXPRESSIONS)]
        levels = draw_expression(seed, style(name), identity, 1, expression, session)
        shots.append(Shot(name, seed, identity, session, 1, tuple(levels.items()), expression))
    return shots


@lru_cache(maxsize=64)
def _person(name: str, seed: int, identity: int) -> Identity:
    return draw_identity(seed, style(name), identity)
