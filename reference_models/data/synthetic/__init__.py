"""Renders synthetic faces with known action units, from MakeHuman's head model and a seed.

Their levels are parameters of a generator, not scores of a human coder: they serve to train, test and compare networks,
but are not comparable with the papers' figures. Needs the extra ``synth`` (numba): ``pip install "attnzoo[synth]"``.
"""

from reference_models.data.synthetic.action_units import UNITS
from reference_models.data.synthetic.layouts import LAYOUTS
from reference_models.data.synthetic.pictures import SyntheticPictures
from reference_models.data.synthetic.render import Picture
from reference_models.data.synthetic.sheet import contact_sheet
from reference_models.data.synthetic.shots import Shot, plan
from reference_models.data.synthetic.styles import list_styles
from reference_models.data.synthetic.writing import shown, write

__all__ = [
    "LAYOUTS",
    "UNITS",
    "Picture",
    "Shot",
    "SyntheticPictures",
    "contact_sheet",
    "list_styles",
    "plan",
    "shown",
    "write",
]
