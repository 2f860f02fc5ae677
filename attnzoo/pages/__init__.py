"""Pages that need nothing but themselves: one HTML file with its style, script, pictures and figures inside.

A page is a list of :class:`Section`, a section a list of blocks (tables, plots, sentences), and each block names the
template that shows it. A page's own security policy forbids every request, so that none can leave it.
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
