"""Whole datasets prepared for training: every face found, aligned and stored once, with its difference levels.

The work is spread over processes, survives being killed, and gives the same bytes however often it was interrupted.
"""

from reference_models.preparation.items import Item, PreparationError
from reference_models.preparation.pictures import PreparedPictures
from reference_models.preparation.plan import Plan, planned
from reference_models.preparation.preparation import PREPARATIONS, SEARCHES, Preparation, Search
from reference_models.preparation.prepared import Prepared, PreparedFace
from reference_models.preparation.run import Report, prepare

__all__ = [
    "PREPARATIONS",
    "SEARCHES",
    "Item",
    "Plan",
    "Preparation",
    "PreparationError",
    "Prepared",
    "PreparedFace",
    "PreparedPictures",
    "Report",
    "Search",
    "planned",
    "prepare",
]
