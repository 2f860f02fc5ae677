"""The papers' equations in float64, one pixel or channel at a time: written from the papers, importing torch only."""
