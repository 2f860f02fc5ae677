"""Write one page of everything that was counted and measured: figures, claims, goals, layers, networks, attaching.

    python -m benchmarks.report [-o report.html] [--results FOLDER]

The page needs nothing but itself: no request leaves it. What is not measured yet is named with the command that
measures it. Needs the extra ``report``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from attnzoo import files
from benchmarks import RESULTS
from benchmarks.committed import Results
from benchmarks.report.page import page


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, and return the exit code: 2 if the input was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="the page to write")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of results")
    given = parser.parse_args(arguments)
    try:
        files.check_writable(given.output, ".html")
        found = Results(given.results)
        content = page(found).encode()
        files.write_output(given.output, content)
    except (ImportError, OSError, ValueError) as error:
        print(f"benchmarks.report: {error}", file=sys.stderr)
        return 2
    print(f"Report: {given.output}, {len(content) / 1e6:.1f} MB, from {len(found.names)} results in {found.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
