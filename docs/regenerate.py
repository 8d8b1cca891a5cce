"""Writes what the tables of the code say into docs/schema, README and docs: `python docs/regenerate.py`.

`regeneration.doc_tables` makes the tables of the pages, and `regeneration.json_schemas` the JSON schemas. A
test fails unless all files are as this program writes them.

`python docs/regenerate.py docs/notebooks/NAME.md …` runs these notebooks and writes what they show instead.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
# Python itself adds only the folder of this program.
sys.path.insert(0, str(DOCS.parent))

from regeneration.doc_tables import with_tables  # noqa: E402
from regeneration.json_schemas import SCHEMAS  # noqa: E402
from regeneration.notebooks import run_again  # noqa: E402


def files() -> dict[Path, str]:
    """The text of every file that is written, by its path."""
    pages = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
    return {
        **{
            DOCS / "schema" / f"{name}.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
            for name, schema in SCHEMAS.items()
        },
        **{page: with_tables(page.read_text(encoding="utf-8")) for page in pages},
    }


def main() -> None:
    """Write the files that differ, and name them."""
    notebooks = [Path(name).resolve() for name in sys.argv[1:]]
    for path, text in ({page: run_again(page) for page in notebooks} if notebooks else files()).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(DOCS.parent))


if __name__ == "__main__":
    main()
