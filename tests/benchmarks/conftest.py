"""The browser of the tests of pages, for the report's page too."""

from tests.pages.conftest import browser

__all__ = ["browser"]
