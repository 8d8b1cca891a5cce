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
    help="Print matrices, or every entry, which needs widths.",
)
@option(
    "Output",
    "--what",
    type=click.Choice(SUBJECTS),
    default=SUBJECTS[0],
    help="What to print.",
)
@option("Output", "--out", type=shared.A_PATH, help="Write to this .tex file, not to stdout.")
def latex(
    p: int | None, pstar: int | None, form: str, what: str, out: Path | None, **conventions: Any
) -> None:
    """Print the equations as LaTeX (amsmath); with symbolic p and p* when no widths are given.

    \b
    Examples:
      cli latex
      cli latex --second-layer trained
      cli latex --p 4 --pstar 2 --form components --what loss --out loss.tex
    """
    if out is not None:
        check_output(out, (".tex",))
    if p is None and pstar is None:
        if form == "components":
            raise click.UsageError("--form components needs --p and --pstar")
        text = derivation.latex_for_any_widths(what, **conventions)
    elif p is None or pstar is None:
        raise click.UsageError(f"--{'p' if p is None else 'pstar'} is missing: give both widths or none")
    else:
        text = derivation.latex(derivation.Model(p, pstar, **conventions), form, what)
    if out is None:
        echo(text.removesuffix("\n"))
        return
    with replacing(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
