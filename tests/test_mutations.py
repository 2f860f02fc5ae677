"""The mutations of ``tests/mutate.py`` follow the code: what one would change stands there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations import SUBJECTS, Subject

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.source)
def test_the_text_of_every_mutation_stands_in_its_source_once(subject: Subject):
    text = (ROOT / subject.source).read_text(encoding="utf-8")
    counts = {mutation.what: text.count(mutation.old) for mutation in subject.mutations}
    assert counts == dict.fromkeys(counts, 1)
    assert len(counts) == len(subject.mutations), "two mutations of one source have one name"
