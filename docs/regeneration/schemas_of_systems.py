"""The schemas of what is no dataset: systems, laws, claims, sweeps and the installation."""

from __future__ import annotations

from regeneration.schema_parts import (
    NULL,
    STATUS,
    VERSION,
    Schema,
    attributes,
    choice,
    either,
    fields,
    flag,
    listed,
    mapping,
    maybe,
    model,
    number,
    over,
    record,
    text,
    whole,
)
from runtime.run_options import ACTIVATIONS, JOB_COMMANDS

_FOR_ALL = flag("Whether this holds for all values of the parameters, not only for `values`.")
_PRODUCT = fields(
    {
        "powers": listed(
            fields(
                {
                    "darboux": whole("Index into the list `darboux`, from 0."),
                    "power": {
                        "type": "integer",
                        "description": "Exponent of this polynomial in the product.",
                    },
                }
            )
        ),
        "rate": text('Logarithmic growth rate; "0" for a first integral.'),
        "symbolic": _FOR_ALL,
    }
)
INVARIANTS = record(
    "Conserved quantities, of `cli invariants --json`.",
    {
        "version": VERSION,
        "model": record("Widths and options.", model()),
        "laws": listed(
            fields(
                {
                    "name": text("Name of the law."),
                    "statement": text("What the law says."),
                    "on": text("Set of states on which the law is claimed."),
                    "status": choice(
                        "Whether the law was proved or refuted, or neither could be decided.",
                        "proved",
                        "refuted",
                        "undecided",
                    ),
                    "reason": text("How it was proved, or where it fails."),
                    "conditions": fields(
                        {
                            "flow": text("Flow of the model."),
                            "constraint": text("Constraint of the model."),
                            "teacher": text("Teacher of the model."),
                            "weights": text("Second-layer weights that the verdict is about."),
                            "decay": choice("Weight decays that the verdict is about.", "any", "0"),
                        }
                    ),
                    "otherwise": text("What is so under fewer conditions, or what the law would need."),
                }
            )
        ),
        "search?": fields(
            {
                "degree": whole("Largest total degree of the search."),
                "values": mapping(text(), "Numbers put in for parameters, as fractions."),
                "complete": flag("Whether `darboux` has all Darboux polynomials up to that degree."),
                "polynomials": listed(text(), "Conserved polynomials that were found."),
                "darboux": listed(
                    fields(
                        {
                            "polynomial": text("f with Lf = cofactor · f."),
                            "label": text("Short name of the polynomial, if it is known; else empty."),
                            "cofactor": text("Cofactor of the polynomial."),
                            "symbolic": _FOR_ALL,
                        }
                    )
                ),
                "first_integrals": listed(_PRODUCT),
                "growing": either("A product that grows at a constant rate.", _PRODUCT, NULL),
            }
        ),
        "monitors?": fields(
            {
                "attributes": attributes(
                    "invariants",
                    "numbers? schedule? rtol? atol? method? output? trajectories? stop_loss?"
                    " seed? q0? n? ideal? overlaps?",
                    {"start_alpha?": number("Time α of the start; not there where it is 0.")},
                ),
                "alpha": over(1, "Times α = samples/N."),
                "conserved": mapping(flag(), "Whether the equations conserve each monitor."),
            },
            others=over(1, "One monitor along the run (alpha)."),
        ),
    },
)
CLAIM = fields(
    {
        "name": text("Name of the claim or check."),
        "claim": text("The claim in one sentence."),
        "prediction": maybe("Value that the theory predicts."),
        "measured": maybe("Value that was measured."),
        "uncertainty": maybe("Standard error of the measured value; null where there is none."),
        "allowed": maybe(
            "Largest difference between measured and predicted value at which the claim still holds."
        ),
        "verdict": choice("Whether the measured value agrees with the prediction.", "holds", "fails"),
    }
)
REPORT = record(
    "What `cli report --json` has written, its key numbers and checks.",
    {
        "out": text("The HTML file."),
        "model": record("Widths and options.", model()),
        "status": choice("How the trajectory ended.", *STATUS),
        "plateau": either(
            "The plateau; null where the model has none, or it was not computed.",
            NULL,
            fields(
                {
                    "q": maybe("Norm of the students."),
                    "loss": maybe("Generalisation error."),
                    "rate": maybe("Growth rate of R."),
                    "multiplicity": whole("Directions that grow at this rate."),
                }
            ),
        ),
        "escape_alpha": maybe(
            "Time at which the loss falls below half of the plateau's; null if it does not."
        ),
        "claims": listed(CLAIM, "The checks, as `cli reproduce --json` lists claims."),
    },
)

# --- systems, sweeps and the installation ------------------------------------------------------

_GENERATED = {
    "folder": text("Path of the folder with the files."),
    "format": whole("Format of the manifest.", 1),
    "name": text("Name of the system."),
    "generator": fields(
        {
            "name": text("overlap-ode"),
            "version": text("Version of overlap-ode that generated the files."),
        }
    ),
    "files": mapping(
        text("The sha256 digest of one file, hexadecimal.", pattern="^[0-9a-f]{64}$"),
        "sha256 of each file.",
    ),
    "parameters": listed(text(), "Run-time parameters in order."),
    "state": listed(text(), "Order parameters in order."),
}
_COMPARED = {
    "method": choice("How the derivations were compared.", "polynomial identity", "random points"),
    "compared": whole("Number of entries that were compared.", 1),
}
_POINTS = {
    "points": whole("Number of random points at which they were compared."),
    "error_bound_log2": {
        "type": ["integer", "null"],
        "description": "log₂ of the chance of a missed difference.",
    },
}


def _operations(**functions: str) -> Schema:
    return fields(
        {
            name: whole(f"Number of floating-point operations of {words}.")
            for name, words in functions.items()
        }
    )


DERIVE = either(
    "The manifest of what `cli derive --json` wrote, and its folder.",
    fields(
        {
            **_GENERATED,
            "model": record("Widths and options.", model()),
            "operations": _operations(rhs="the right-hand side", loss="the loss", tangent="the tangent"),
            "code": mapping(
                choice("", "unrolled", "loops"),
                "Whether the code of each function has one line per entry, or loops.",
            ),
            "proof": fields({**_COMPARED, **_POINTS}),
        },
        title="full system",
    ),
    fields(
        {
            **_GENERATED,
            "kind": {"const": "sector"},
            "model": record("Widths and options.", model("p", *ACTIVATIONS)),
            "operations": _operations(rhs="the right-hand side", loss="the loss"),
            "proof": fields(
                {
                    **_COMPARED,
                    "pstar": whole("Width p* for which the sector was proved.", 1),
                    "widths": listed(whole(least=1), "Widths p for which the sector was proved."),
                    "frames": whole("Number of random frames in which they were compared."),
                }
            ),
        },
        title="--sector",
    ),
    fields(
        {
            **_GENERATED,
            "kind": {"const": "fluctuations"},
            "model": record("Widths and options.", model()),
            "operations": mapping(whole(), "About the floating-point operations of each function."),
            "proof": fields(
                {
                    "method": choice(
                        "How the two routes to the diffusion matrix were compared.",
                        *("random points", "cubature to rounding", "no diffusion"),
                    ),
                    "compared": whole("Number of entries that were compared."),
                    **_POINTS,
                }
            ),
        },
        title="--fluctuations",
    ),
)
_FOLDER = {"name": text("Name of the folder."), "folder": text("Path of the folder.")}
LIST = listed(
    either(
        "",
        fields(
            {
                **_FOLDER,
                "model": record(
                    "Widths and options; sectors have no p, and no activations.", model(sectors=True)
                ),
                "state_size": whole("Number of order parameters.", 1),
                "operations": whole("Number of floating-point operations of the right-hand side."),
                "proof": text("How the derivations were compared."),
            }
        ),
        fields({**_FOLDER, "problem": text("Why it is not loaded, and what to do.")}),
    ),
    "The systems of `cli list --json`, by name.",
)
DOCTOR = record(
    "The report of `cli doctor --json`.",
    {
        "version": text("Version of overlap-ode."),
        "status": choice("The worst status of all checks.", "ok", "warning", "problem"),
        "checks": listed(
            fields(
                {
                    "name": text("What the check looks at."),
                    "status": choice("Result of the check.", "ok", "warning", "problem"),
                    "found": text("What the check found."),
                    "next": text("What to do about it; empty where there is nothing to do."),
                }
            ),
            minItems=1,
        ),
    },
)
_PROBLEM = {"task": whole("Number of the task."), "error": text("Error message, one line.")}
_SWEEP = {
    "folder": text("Folder of the sweep."),
    "tasks": whole("Number of tasks of the sweep, or of this part of a job array."),
}
_DONE = {"done": whole("Number of tasks that have a result.")}
_JOB = {"job": choice("Kind of the tasks.", *JOB_COMMANDS)}
_PLACED = fields({**_PROBLEM, "parameters": mapping({}, "Where the task is on the axes.")})
SWEEP = either(
    "State of a sweep; other forms with --status and --dry-run.",
    record(
        "The form after a run.",
        {**_SWEEP, **_DONE, "failed": listed(record("", _PROBLEM), "Tasks without a result.")},
    ),
    record(
        "The form with --status.",
        {
            **_SWEEP,
            **_JOB,
            **_DONE,
            "failed": listed(_PLACED, "Tasks that ended with an error, and where they are on the axes."),
            "damaged": listed(_PLACED, "Tasks whose result file is damaged."),
            "missing": listed(whole(), "Numbers of the tasks that nobody has tried."),
        },
    ),
    record(
        "The form with --dry-run.",
        {
            **_SWEEP,
            **_JOB,
            "axes": mapping({"type": "array"}, "Values of each parameter that varies."),
            "shape": mapping(whole(), "Lengths of the axes."),
            "disk_bytes": whole("Estimate of the disk space, in bytes."),
            "memory_bytes": whole("Estimate of the memory, in bytes."),
        },
    ),
)
MERGE = record(
    "What `cli merge --json` has written.",
    {
        "file": text("The netCDF file."),
        "sizes": mapping(whole(), "Lengths of the dimensions of the dataset."),
    },
)
