"""Self-contained HTML pages: one file with style, script, pictures and figures inside.

A page is a list of :class:`Section`, a section a list of blocks (tables, plots, sentences); each block has a template.
The page's content security policy forbids all requests.
"""

from attnzoo.pages.blocks import Block, Curve, Gallery, Missing, Picture, Section, Tile, Tiles, Words
from attnzoo.pages.plot import Plot, Point
from attnzoo.pages.render import render
from attnzoo.pages.table import Cell, Column, Table, number, sizes

__all__ = [
    "Block",
    "Cell",
    "Column",
    "Curve",
    "Gallery",
    "Missing",
    "Picture",
    "Plot",
    "Point",
    "Section",
    "Table",
    "Tile",
    "Tiles",
    "Words",
    "number",
    "render",
    "sizes",
]
