"""Prepares whole datasets for training: detects, aligns and stores every face once, with its difference levels.

The work is spread over processes, can be killed and resumed, and writes the same bytes however often it was
interrupted.
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
