"""The schemas of results of computations, such as trajectories: what is particular to each command."""

from __future__ import annotations

from collections.abc import Mapping

from derive.parameters import VECTORS
from regeneration.schema_parts import (
    MADE,
    STATUS,
    TITLE,
    Schema,
    attributes,
    choice,
    either,
    fields,
    listed,
    maybe,
    model,
    number,
    numbers_of_each,
    over,
    record,
    text,
    whole,
)
from runtime.run_options import ACTIVATIONS, HESSIAN_PLACES, RUN_OPTIONS

ORIGIN = "seed? q0? n? ideal? overlaps?"
ALPHA = {"alpha": over(1, "Times α = steps/N.")}
BEGUN = {"start_alpha?": number("Time α of the start; not there where it is 0.")}


def states(*front: str) -> dict[str, Schema]:
    """Q, R, T and second layers, with these axes in front of those of the matrices."""
    depth, axes = len(front), "".join(f"{axis}, " for axis in front)
    return {
        "Q": over(depth + 2, f"Student-student overlaps ({axes}i, j)."),
        "R": over(depth + 2, f"Student-teacher overlaps ({axes}i, r)."),
        "v?": over(depth + 1, f"Trained second-layer weights of the students ({axes}i)."),
        **layers("trajectory" in front),
    }


def layers(each: bool) -> dict[str, Schema]:
    """T and second layers, with `each` of all trajectories together or one for each."""
    found = {"T": over(2, "Teacher-teacher overlaps (r, s).")}
    for vector in VECTORS:
        axis = {"p": "i", "pstar": "r"}[vector.shape[0]]
        when = "" if vector.state_with is None else ", at the start if they are trained"
        words = f"{vector.words.capitalize()}{when}"
        alone, many = over(1, f"Of all ({axis})."), over(2, f"Of each (trajectory, {axis}).")
        found[f"{vector.name}?"] = (
            either(f"{words}.", alone, many) if each else over(1, f"{words} ({axis}).")
        )
    return found


def of_states(
    front: tuple[str, ...], endings: Mapping[str, str], optional: bool = False
) -> dict[str, Schema]:
    """A variable for each ending of the names of overlaps, v and loss; the words have a place for these."""
    depth, axes = len(front), ", ".join(front)
    found = {}
    for name, own in (("Q", ", i, j"), ("R", ", i, r"), ("v", ", i"), ("loss", "")):
        for ending, words in endings.items():
            # Only a trained second layer changes.
            mark = "?" if optional or name == "v" else ""
            schema = over(depth + own.count(","), f"{words.format(name)} ({axes}{own}).")
            found[f"{name}_{ending}{mark}"] = schema
    return found


def means(*front: str) -> dict[str, Schema]:
    """Means over runs and their standard errors, with these axes in front of those of the matrices."""
    words = {"mean": "Mean of {} over runs", "error": "Standard error of the mean of {} over runs"}
    return of_states(front, words)


# √N times standard deviations that the covariance at order 1/N predicts.
PREDICTED = {"std": "√N times the standard deviation of {} at order 1/N"}
# N times the biases that are predicted there.
PREDICTED_BIAS = {"bias": "N times the bias of the mean of {} at order 1/N"}


# --- a trajectory and an ensemble --------------------------------------------------------------

ENDED = {
    "status": choice("How the trajectory ended.", *STATUS),
    "alpha_end": maybe("Time that was reached."),
    "steps": whole("Accepted steps; 0 for SciPy's solvers."),
    "rejected": whole("Rejected steps; 0 for SciPy's solvers."),
    "evaluations": whole("Evaluations of the right-hand side."),
}
INTEGRATE = record(
    "A trajectory of `cli integrate --json`.",
    {
        "attributes": attributes(
            "integrate", f"numbers schedule? rtol atol method {ORIGIN} stop_loss?", BEGUN
        ),
        **ALPHA,
        **states("alpha"),
        "loss": over(1, "Generalisation error (alpha)."),
        **ENDED,
        "escape_alpha?": maybe("Time at which the loss came down to stop_loss; null if it did not."),
    },
)
FLUCTUATIONS = record(
    "The covariance at order 1/N beside a trajectory, of `cli fluctuations --json`.",
    {
        "attributes": attributes(
            "fluctuations",
            "numbers schedule? rtol atol method n seed? q0? ideal? overlaps?",
            {
                **BEGUN,
                "start_covariance": choice("Covariance of the starts.", "none", "random weights", "given"),
            },
        ),
        **ALPHA,
        "component": over(1, "Names of the order parameters.", "text"),
        **states("alpha"),
        "loss": over(1, "Generalisation error (alpha)."),
        "covariance": over(3, "N times the covariance (alpha, component, component); null as linear_n."),
        **of_states(("alpha",), PREDICTED),
        **of_states(("alpha",), PREDICTED_BIAS, optional=True),
        "linear_n": over(
            1, "N above which the linear theory holds (alpha); null where the covariance is too large."
        ),
        "linear_until": maybe("Time from which the linear theory fails at n; null if it does not."),
        **ENDED,
    },
)
SECTOR = record(
    "A trajectory of the invariant sector, of `cli sector --json`.",
    {
        "attributes": attributes(
            "sector",
            "numbers schedule? rtol atol method seed? q0? ideal?",
            {
                **{f"{v.name}?": number(RUN_OPTIONS[v.name].of("sector").help) for v in VECTORS},
                "singular_values?": either(
                    "Singular values of R0 that were given: one for all, or each.",
                    number(),
                    listed(number()),
                ),
            },
        ),
        **ALPHA,
        "q": over(2, "Eigenvalues qₖ of Q in the singular directions of R (alpha, k)."),
        "m": over(2, "Singular values mₖ of R (alpha, k)."),
        "loss": over(1, "Generalisation error (alpha)."),
        **ENDED,
        "q_perp?": over(1, "Eigenvalue q⊥ of Q in all other directions (alpha); there if p > p*."),
    },
)
ENSEMBLE_ATTRIBUTES = attributes(
    "ensemble", f"numbers? schedule? rtol atol method output {ORIGIN} trajectories? stop_loss?", BEGUN
)
_OF_ENSEMBLE = {"attributes": {"$ref": "#/$defs/attributes"}}
_EACH_ENDED = {
    **numbers_of_each("trajectory"),
    "status": over(1, "Status at the end of each trajectory.", "status"),
    "alpha_end": over(1, "Time that each trajectory reached."),
    "steps": over(1, "Number of accepted steps of each trajectory.", "count"),
    "rejected": over(1, "Number of rejected steps of each trajectory.", "count"),
}
_STOPPED = {
    "escape_alpha?": over(
        1, "Time at which the loss of each trajectory came down to stop_loss; null where it did not."
    )
}
ENSEMBLE = either(
    "An ensemble of `cli ensemble --json`: one form for each --output.",
    fields(
        {
            **_OF_ENSEMBLE,
            **ALPHA,
            **layers(True),
            "quantile": over(1, "Probabilities of loss_quantile."),
            "status": over(1, "Names of the kinds of ends that `status_count` counts.", "status"),
            "loss_mean": over(
                1, "Mean loss of the trajectories that have neither stopped nor failed (alpha)."
            ),
            "loss_error": over(1, "Standard error of `loss_mean` (alpha)."),
            "loss_quantile": over(
                2,
                "Quantiles of the loss over all trajectories (quantile, alpha); null where the quantile is"
                " among those that stopped or failed.",
            ),
            "count": over(1, "Trajectories that have neither stopped nor failed (alpha).", "count"),
            "status_count": over(1, "Number of trajectories with each kind of end.", "count"),
            **_STOPPED,
        },
        title="--output statistics",
    ),
    fields(
        {
            **_OF_ENSEMBLE,
            "Q": over(3, "Last overlaps (trajectory, i, j)."),
            "R": over(3, "Last overlaps (trajectory, i, r)."),
            "v?": over(2, "Last second-layer weights (trajectory, i)."),
            **layers(True),
            "loss": over(1, "Last loss (trajectory)."),
            **_EACH_ENDED,
            **_STOPPED,
        },
        title="--output final",
    ),
    *(
        fields(
            {
                **_OF_ENSEMBLE,
                **ALPHA,
                **kept,
                "loss": over(2, "Generalisation error (trajectory, alpha)."),
                **_EACH_ENDED,
                **_STOPPED,
            },
            title=f"--output {output}",
        )
        for output, kept in (("loss", layers(True)), ("all", states("trajectory", "alpha")))
    ),
)

# --- SGD ---------------------------------------------------------------------------------------

SIMULATE = record(
    "Runs of SGD of `cli simulate --json`.",
    {
        "attributes": attributes("simulate", "n method seed numbers schedule? q0? ideal? overlaps?", BEGUN),
        **ALPHA,
        **states("trajectory", "alpha"),
        "loss": over(2, "Generalisation error (trajectory, alpha)."),
        **numbers_of_each("run"),
        "status": over(1, "How each run ended.", "status"),
        "alpha_end": over(1, "Last time of each run before it diverged, or the end."),
        **means("alpha"),
        "runs": over(1, "Runs that have not diverged (alpha).", "count"),
    },
)
COMPARE = record(
    "ODE against SGD, of `cli compare --json`.",
    {
        "attributes": attributes(
            "compare",
            "numbers schedule? trajectories seed q0? ideal? overlaps?",
            {
                **BEGUN,
                "verdict": choice(
                    "Whether SGD approaches the ODE; undecided if runs diverged.",
                    "agree",
                    "disagree",
                    "undecided",
                ),
                "comparisons": whole("Number of statistical comparisons."),
                "allowed": number("Largest deviation that is allowed, in standard errors."),
                "deviation?": maybe(
                    "Largest deviation of the limit N → ∞ from the ODE, in standard errors."
                ),
                "where?": text("What deviates most, and when."),
                "spread_comparisons?": whole("Number of statistical comparisons of spreads."),
                "spread_deviation?": maybe(
                    "Largest deviation of N times a variance, extrapolated to N → ∞, from the covariance at"
                    " order 1/N, in standard errors of its cube root."
                ),
                "spread_allowed?": number("Largest such deviation that is allowed."),
                "spread_where?": text("What spreads most differently, and when."),
                "spread_until?": number("Last time at which spreads are compared."),
                "bias_comparisons?": whole("Number of statistical comparisons of biases."),
                "bias_deviation?": maybe(
                    "Largest deviation of N times a bias, extrapolated to N → ∞, from the theory at order"
                    " 1/N, in standard errors."
                ),
                "bias_allowed?": number("Largest such deviation that is allowed."),
                "bias_where?": text("What has the most different bias, and when."),
                "spread_reason?": text("Why no spreads are compared."),
                "weights_deviation?": maybe("Largest deviation of weights from the chain."),
                "weights_allowed?": number(
                    "Largest deviation of weights from the chain that is allowed, in standard errors."
                ),
            },
        ),
        **ALPHA,
        "n": over(1, "Input dimensions N.", "count"),
        "observable": over(1, "Names of the order parameters and the loss that were compared.", "text"),
        **states("alpha"),
        "loss": over(1, "Loss of the ODE (alpha)."),
        **means("n", "alpha"),
        **of_states(("n", "alpha"), {"spread": "Standard deviation of {} over runs"}),
        **of_states(("alpha",), PREDICTED | PREDICTED_BIAS, optional=True),
        "linear_n?": over(1, "N that the linear theory of spreads has needed so far (alpha)."),
        "limit": over(2, "Deviation from the ODE, extrapolated to N → ∞ (observable, alpha)."),
        "limit_error": over(2, "Standard error of `limit`."),
        "bias": over(2, "Coefficient of 1/N (observable, alpha)."),
        "bias_error": over(2, "Standard error of `bias`."),
        "diverged": over(1, "Diverged runs (n).", "count"),
    },
)

# --- analysis ----------------------------------------------------------------------------------

_DISTANCES = {
    "closest": "Squared distance per N from the start to the closest solution",
    "reached": "Squared distance per N from the start to the solution that was found",
    "excess": "By how much `{0}reached` exceeds `{0}closest`",
    "alignment": "Alignment tr(OᵀR0)/‖R0‖₁ of the solution found",
    "remaining": "Squared distance per N from the end to the manifold of solutions",
}


def _starts(prefix: str, words: str, axis: str, mark: str = "") -> dict[str, Schema]:
    """What `cli bias` measures for one kind of starts."""
    ending = f", {words} ({axis}, trajectory)."
    return {
        **{
            f"{prefix}_{name}{mark}": over(2, distance.format(f"{prefix}_") + ending)
            for name, distance in _DISTANCES.items()
        },
        f"{prefix}_solved{mark}": over(2, f"Whether the end is close to a solution{ending}", "flag"),
    }


_END = {"alpha_end": number("Time α at which the runs end.")}
_OF_RUNS = {
    **_DISTANCES,
    "missed": "Squared distance per N from the end to the solution closest to the start",
    "loss": "Last loss",
}
BIAS = either(
    "Implicit bias, of `cli bias --json`: the study, or with --run the runs in a file.",
    fields(
        {
            "attributes": attributes(
                "bias",
                "numbers q0 seed trajectories scale",
                {
                    **_END,
                    "noise_to_signal?": number("Noise over signal σ² of SGD on the plateau (T ∝ 1)."),
                    "expected_alignment?": number("Alignment of SGD for N → ∞ (T ∝ 1)."),
                    "expected_alignment_error?": number("Standard error of `expected_alignment`."),
                    "expected_excess?": number("Excess of SGD times √N for N → ∞ (T ∝ 1)."),
                },
            ),
            "n": over(1, "Input dimensions N.", "count"),
            "condition": over(1, "Condition numbers of Q0."),
            **_starts("ode", "ODE from random weights", "n"),
            **_starts("norms", "ODE from unequal norms", "condition"),
            "norms_theory": over(2, "Alignment that theory predicts for R0 → 0 (condition, trajectory)."),
            **_starts("sgd", "SGD from the same starts", "n", "?"),
            **layers(False),
        },
        title="study",
    ),
    fields(
        {
            "attributes": attributes(
                "bias", f"numbers? rtol? atol? method? {ORIGIN} output? trajectories? stop_loss?", _END
            ),
            **{
                name: either(f"{words.format('')}, of each run.", maybe(""), over(1))
                for name, words in _OF_RUNS.items()
            },
        },
        title="--run",
    ),
)
ESCAPE = record(
    "Escape times of `cli escape --json`.",
    {
        "attributes": attributes(
            "escape", "numbers fraction q0 trajectories seed rtol atol", varied=("eta",)
        ),
        "eta": over(1, "Learning rates."),
        "n": over(1, "Input dimensions N.", "count"),
        "quantile": over(1, "Probabilities of the quantiles."),
        "probability": over(1, "Probabilities of law."),
        "escape_alpha": over(3, "Escape times (eta, n, trajectory); null without escape."),
        "escaped": over(2, "Starts that escaped (eta, n).", "count"),
        "diverged": over(2, "Starts that diverged (eta, n).", "count"),
        "alpha_quantile": over(
            3, "Quantiles of the escape times of all starts (eta, n, quantile); null where too few escape."
        ),
        "median_error": over(2, "Standard error of the median (eta, n)."),
        "theory_quantile": over(3, "Quantiles of the law as N → ∞ (eta, n, quantile)."),
        "theory_quantile_sgd": over(3, "Quantiles of the law of SGD as N → ∞ (eta, n, quantile)."),
        "law": over(2, "Escape time as N → ∞ less ln N/(2 rate) (eta, probability)."),
        "plateau_q": over(1, "Norm q at the plateau (eta)."),
        "plateau_loss": over(1, "Loss at the plateau (eta)."),
        "rate": over(1, "Escape rate r (eta)."),
        "multiplicity": over(1, "Directions that grow at this rate (eta).", "count"),
        "threshold": over(1, "Loss that counts as escaped (eta)."),
        "gain": over(1, "Gain G of the theory (eta)."),
        "curvature": over(1, "Curvature K of the theory (eta)."),
        "sgd_noise": over(1, "Variance of R from the noise of SGD over that of R0, as N → ∞ (eta)."),
        "sgd_shift": over(1, "By how much earlier SGD escapes than the ODE, in α, as N → ∞ (eta)."),
        "slope": over(1, "Slope of the median per ln N (eta)."),
        "slope_error": over(1, "Standard error of `slope`."),
        "slope_theory": over(1, "1/(2 rate) (eta)."),
        "fitted_rate": over(1, "Rate fitted to the growth (eta)."),
        "fitted_rate_error": over(1, "Error of `fitted_rate`."),
        "fitted_gain": over(1, "Gain fitted to the growth (eta)."),
        "fitted_gain_error": over(1, "Error of `fitted_gain`."),
        "sgd_escape_alpha?": over(3, "Escape times of SGD (eta, n, trajectory); null without escape."),
        "sgd_escaped?": over(2, "Runs of SGD that escaped (eta, n).", "count"),
        "sgd_diverged?": over(2, "Runs of SGD that diverged (eta, n).", "count"),
        "sgd_alpha_quantile?": over(
            3, "Quantiles of the escape times of SGD (eta, n, quantile); null where too few escape."
        ),
        "sgd_median_error?": over(2, "Standard error of the median of SGD (eta, n)."),
        "sgd_measured_shift?": over(2, "Median of the ODE less that of SGD (eta, n)."),
        "sgd_measured_shift_error?": over(2, "Standard error of `sgd_measured_shift`."),
        "sgd_deviation?": over(
            2, "`sgd_measured_shift` less `sgd_shift` in standard errors of the former (eta, n)."
        ),
        "sgd_resolution?": over(2, "Time α between two looks at the loss of SGD (eta, n)."),
        "curve?": over(1, "Learning rates of rate_curve; for several η."),
        "rate_curve?": over(1, "Escape rate (curve); null where there is no plateau."),
        **layers(False),
    },
)
EXPONENT = record(
    "Times of the mediocre start, of `cli exponent --json`.",
    {
        "attributes": fields(
            {
                "title": TITLE,
                **model(*ACTIVATIONS),
                "overlap": number(RUN_OPTIONS["overlap"].help),
                **{name: number(RUN_OPTIONS[name].help) for name in ("rtol", "atol")},
                **MADE,
            }
        ),
        "activation": listed(text(), "Activations, of student and teacher."),
        "n": over(1, "Input dimensions N.", "count"),
        "scaled_time": over(2, "ηα at the overlap (activation, n); null where it is not reached."),
        "theory": over(2, "The same by quadrature in the Hermite coefficients (activation, n)."),
        "exponent": over(1, "Information exponents (activation).", "count"),
        "law": listed(text(), "Order of ηα in N (activation)."),
    },
)
PLATEAU = record(
    "The plateau of `cli plateau --json`.",
    {
        "attributes": attributes(
            "plateau",
            "numbers q0?",
            {
                "largest_eta_plateau": maybe(
                    "Largest η with a plateau that attracts at R = 0; null without a limit, 0 without any."
                ),
                "largest_eta_escape": maybe("Largest η at which it also repels along R."),
            },
            varied=("eta",),
        ),
        "eta": over(1, "Learning rates."),
        "q": over(1, "Mean norm of a student (eta); null where there is no plateau."),
        "loss": over(1, "Loss (eta)."),
        "rate": over(1, "Escape rate r (eta)."),
        "multiplicity": over(1, "Directions that grow at this rate (eta); 0 without a plateau.", "count"),
        "stable": over(1, "1 if it attracts within R = 0, else 0 (eta).", "count"),
        "norm": over(2, "Norm of each student (eta, i)."),
        **layers(False),
    },
)
_SIGNS = ("negative", "flat", "positive")
HESSIAN = either(
    "Spectra of `cli hessian --json`: of a state, or with --along of each state of a run.",
    fields(
        {
            "attributes": attributes(
                "hessian",
                "n tolerance numbers? seed? q0? overlaps?",
                {
                    "span": whole("Dimension κ of the span of all weights."),
                    "size": whole("Number of eigenvalues."),
                    "classification": choice(
                        "Kind of the state, to second order.",
                        *("saddle", "marginal minimum", "minimum", "not stationary"),
                    ),
                    "stationary": choice("1 if the gradient vanishes, else 0.", 0, 1),
                    "gradient": number("Norm of the gradient."),
                    **{sign: whole(f"Number of {sign} eigenvalues.") for sign in _SIGNS},
                    "at?": choice("Which state was looked at.", *HESSIAN_PLACES),
                    "loss?": number("Loss at the solution."),
                    "flat_tangent?": whole("Flat directions along the manifold of minima."),
                    "flat_quartic?": whole("Flat directions of fourth order."),
                },
            ),
            "eigenvalue": over(1, "Eigenvalues in w/√N."),
            "multiplicity": over(1, "Multiplicities of the eigenvalues.", "count"),
            "block": over(1, "Where the eigenvectors move the students.", "text"),
            **layers(False),
        },
        title="a state",
    ),
    fields(
        {
            "attributes": attributes(
                "hessian",
                "numbers schedule? rtol atol method n tolerance seed? q0? ideal? overlaps?",
                BEGUN,
            ),
            **ALPHA,
            **layers(False),
            "inside": over(2, "Eigenvalues in the span of all weights (alpha, mode)."),
            "outside": over(2, "Eigenvalues in the complement of that span (alpha, mode)."),
            "outside_multiplicity": whole("Multiplicity of each eigenvalue in the complement."),
            "gradient": over(1, "Norm of the gradient (alpha)."),
            "loss": over(1, "Loss (alpha)."),
            **{sign: over(1, f"Number of {sign} eigenvalues (alpha).", "count") for sign in _SIGNS},
        },
        title="--along",
    ),
)
