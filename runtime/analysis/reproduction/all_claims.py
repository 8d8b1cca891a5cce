"""Runs the studies of all claims, draws their figures and writes the verdicts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from derive.arguments import whole_number
from derive.errors import InputError
from runtime.analysis.claims import Claim
from runtime.analysis.reproduction import (
    bias_claim,
    conservation_claim,
    decay_claim,
    escape_claim,
    hessian_claim,
    plateau_claim,
    simulation_claim,
)
from runtime.analysis.reproduction.studies import Reproduction, save_claims
from runtime.output.output_files import check_output
from runtime.start.seeds import LARGEST_SEED

STUDIES: dict[str, Callable[[Reproduction], Any]] = {
    "plateau": plateau_claim.study,
    "escape": escape_claim.study,
    "decay": decay_claim.study,
    "conservation": conservation_claim.study,
    "bias": bias_claim.study,
    "hessian": hessian_claim.study,
    "simulation": simulation_claim.study,
}
FORMATS = (".pdf", ".png")
CLAIMS = "claims.json"


def reproduce(
    out: Path, generated: Path, *, quick: bool, seed: int, say: Callable[[str], None]
) -> list[Claim]:
    """Write a figure for each study (PDF and PNG) and claims.json into `out`; returns the claims.

    Systems are derived into `generated`; `say` is told which study runs.

    Raises InputError if the folder cannot be made, or a value is not allowed.
    """
    seed = whole_number("seed", seed, 0, LARGEST_SEED // 2)
    reproduction = Reproduction(quick, seed, generated)
    claims: list[Claim] = []
    with _folder(out) as folder:
        for name, study in STUDIES.items():
            say(f"{name} …")
            found = study(reproduction)
            for suffix in FORMATS:
                found.drawing.save(folder / f"{name}{suffix}")
            claims += found.claims
        save_claims(claims, reproduction, folder / CLAIMS)
    say(f"wrote {len(STUDIES)} figures and {CLAIMS} to {folder}")
    return claims


@contextlib.contextmanager
def _folder(folder: Path) -> Iterator[Path]:
    """The folder, made if missing, in which every file can be written; it is not left behind empty."""
    try:
        there = folder.is_dir()
        folder.mkdir(exist_ok=True)
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise InputError("out", f"{folder} cannot be made: {words}") from None
    try:
        for name in (CLAIMS, *(f"{study}{suffix}" for study in STUDIES for suffix in FORMATS)):
            check_output(folder / name, (Path(name).suffix,))
        yield folder
    finally:
        if not there:
            # A folder with something in it stays.
            with contextlib.suppress(OSError):
                folder.rmdir()
