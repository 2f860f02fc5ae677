"""Write the generated parts of README and documentation.

python -m docs.generate            bring every file up to date
python -m docs.generate --check    change nothing; exit 1 and name the files that are out of date
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks import ROOT
from docs.generate.pages import files, updated


def main(arguments: Sequence[str]) -> int:
    """Run the command line above."""
    check = list(arguments) == ["--check"]
    if arguments and not check:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    stale = [path for path in files() if updated(path) != path.read_text()]
    for path in stale:
        if not check:
            path.write_text(updated(path))
        sys.stdout.write(f"{'out of date' if check else 'written'}: {path.relative_to(ROOT)}\n")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
