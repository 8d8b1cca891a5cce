"""`cli latex`: print the equations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import derive as derivation
from derive.atomic_files import replacing
from derive.odes import FORMS, SUBJECTS
from runtime.commands import shared_options as shared
from runtime.commands.grouped_help import command, option
from runtime.commands.printing import echo
from runtime.output.output_files import check_output


@command()
@shared.width_options(p=None, pstar=None)
@shared.convention_options
@option(
    "Output",
    "--form",
    type=click.Choice(FORMS),
    default=FORMS[0],
    help="Print matrices, with letters for loops and chains, or expanded in Q, R and T alone; or print"
    " every entry, which needs widths.",
)
@option(
    "Output",
    "--what",
    type=click.Choice(SUBJECTS),
    default=SUBJECTS[0],
    help="What to print.",
)
@option(
    "Output",
    "--definitions/--no-definitions",
    default=True,
    help="Begin with sentences that define all symbols.",
)
@option("Output", "--out", type=shared.A_PATH, help="Write to this .tex file, not to stdout.")
def latex(
    p: int | None,
    pstar: int | None,
    form: str,
    what: str,
    definitions: bool,
    out: Path | None,
    **conventions: Any,
) -> None:
    """Print the equations as LaTeX (amsmath); with symbolic p and p* when no widths are given.

    Lines fit a column of 246 pt at 10 pt, that of a paper in two columns.

    \b
    Examples:
      cli latex
      cli latex --form expanded --no-definitions
      cli latex --second-layer trained
      cli latex --p 4 --pstar 2 --form components --what loss --out loss.tex
    """
    if out is not None:
        check_output(out, (".tex",))
    if p is None and pstar is None:
        if form == "components":
            raise click.UsageError("--form components needs --p and --pstar")
        text = derivation.latex_for_any_widths(what, form=form, definitions=definitions, **conventions)
    elif p is None or pstar is None:
        raise click.UsageError(f"--{'p' if p is None else 'pstar'} is missing: give both widths or none")
    else:
        model = derivation.Model(p, pstar, **conventions)
        text = derivation.latex(model, form, what, definitions=definitions)
    if out is None:
        echo(text.removesuffix("\n"))
        return
    with replacing(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
