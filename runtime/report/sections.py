"""The report in words: from what was computed to a document of sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from derive.emit.header import derive_command
from derive.emit.latex_components import COMPONENT_LIMIT, component_form
from derive.emit.latex_matrix import Conventions, matrix_form
from derive.model import Model
from derive.odes import DOCUMENT
from derive.version import VERSION
from runtime.report import report_tables
from runtime.report.findings import Content, HessianAt, Unavailable
from runtime.report.numbers import counted, integer, number
from runtime.report.page_elements import (
    Block,
    Code,
    Command,
    Document,
    Equations,
    Facts,
    Link,
    Paragraph,
    Section,
    Words,
    words,
)
from runtime.report.provenance import command_line, facts
from runtime.report.report_figures import figures

# Order parameters: components of more fill pages, and the file.
COMPONENTS_SHOWN = 40
PAPER = "https://arxiv.org/abs/2604.03068"

_READOUT = {
    "mean": "$a = 1/p$, $b = 1/p^*$",
    "sum": "$a = b = 1$",
    "sqrt": r"$a = 1/\sqrt{p}$, $b = 1/\sqrt{p^*}$",
}
_TEACHER = {"orthonormal": "orthonormal, $T = 1$", "general": "general: $T$ is given"}
_CONSTRAINT = {
    "free": "free",
    "sphere": "sphere: after each step every student is rescaled to its norm",
}
_FLOW = {
    "sgd": r"one-pass SGD, with the terms in $\kappa^2$, which are its noise",
    "gradient": r"gradient flow on the population loss: no terms in $\kappa^2$",
}
_DYNAMICS = {"sgd": "one-pass SGD", "gradient": "gradient flow"}


def document(content: Content, arguments: Mapping[str, Any], source: str | None) -> Document:
    """The whole report; `source` is the address of the generated LaTeX from the report, if near."""
    model = content.model
    return Document(
        title=f"Overlap ODEs of a quadratic teacher–student network, p = {model.p}, p* = {model.pstar}",
        subtitle=words(
            f"{'Spherical' if model.constraint == 'sphere' else 'Free'} norms, {_DYNAMICS[model.flow]},"
            f" {model.teacher} teacher, {model.readout} readout;"
            rf" $\eta$ = {number(content.start.problem.eta)}"
        ),
        sections=[
            Section("summary", "Summary", [Paragraph(_summary(content))]),
            _model(content),
            _equations(content),
            _trajectory(content),
            _plateau(content),
            _hessian(content),
            _laws(content),
            _checks(content),
            # Why late: they are pages, and seldom read from the beginning.
            Section("components", "Equations in components", _components(model, source)),
            _provenance(content, arguments),
        ],
        generator=f"overlap-ode {VERSION}",
    )


def _summary(content: Content) -> Words:
    model, problem = content.model, content.start.problem
    proof = content.manifest["proof"]
    verb = "learn" if model.p > 1 else "learns"
    norms = " on the sphere" if model.constraint == "sphere" else ""
    noise = (
        rf" and label noise $\Delta$ = {number(problem.label_noise)}"
        if problem.label_noise and model.flow == "sgd"
        else ""
    )
    who = counted(model.p, "student").capitalize() + norms
    task = (
        f"{who} {verb} {counted(model.pstar, 'teacher')} ({model.teacher}) by {_DYNAMICS[model.flow]} with"
        rf" the learning rate $\eta$ = {number(problem.eta)}{noise}."
    )
    odes = (
        f"In high dimension {counted(model.state_size, 'order parameter')} obey closed ODEs, which were"
        f" derived in two ways and proved equal in all {integer(proof['compared'])} entries"
        f" ({proof['method']})."
    )
    sentences = [task, odes, *_story(content)]
    failed = [claim for claim in content.claims if not claim.holds]
    total = len(content.claims)
    if failed:
        sentences.append(f"Of {total} checks of this report {len(failed)} fail: see Checks.")
    else:
        sentences.append(f"All {total} checks of this report hold.")
    return words(" ".join(sentences))


def _story(content: Content) -> list[str]:
    """Start, plateau, escape and end of the trajectory."""
    run, point = content.run, content.plateau
    end, last = content.last
    status = run["status"].item()
    first = run["loss"].values[0]
    origin = content.start.origin
    if "n" in origin:
        begin = f"From random weights at $N$ = {integer(origin['n'])} (seed {origin['seed']})"
    elif "ideal" in origin:
        begin = (
            f"From $Q = q_0 1$ and a random $R$ of size {number(origin['ideal'])} (seed {origin['seed']})"
        )
    else:
        begin = "From the overlaps of a file"
    told = []
    if status == "ok":
        told.append(
            rf"{begin} the generalisation error goes from {number(first)} to {number(last)} at"
            rf" $\alpha$ = {number(end)}."
        )
    else:
        reason = "it diverged" if status == "diverged" else "steps became too small"
        told.append(
            rf"{begin} the trajectory ended at $\alpha$ = {number(run['alpha_end'].item())}: {reason}."
        )
    if isinstance(point, Unavailable):
        return [*told, point.reason]
    kind = "repels" if point.rate > 0.0 else "attracts"
    told.append(
        rf"The plateau, norms $q$ = {number(point.q)} and loss {number(point.loss)}, {kind} in"
        f" {counted(point.multiplicity, 'direction')} at the rate {number(point.rate)}"
        + (
            rf"; the loss falls below half of it at $\alpha$ = {number(content.escape, 4)}."
            if content.escape is not None
            else "."
        )
    )
    return told


def _model(content: Content) -> Section:
    model, problem = content.model, content.start.problem
    definitions = (
        r"Inputs $x \sim \mathcal{N}(0, 1_N)$ in $N$ dimensions enter through the pre-activations"
        r" $\lambda_i = w_i\cdot x/\sqrt{N}$ of the students and $\lambda^*_r = w^*_r\cdot x/\sqrt{N}$ of"
        r" the teachers. Each step draws one fresh sample; the time is $\alpha = \text{samples}/N$, and the"
        r" generalisation error is $\varepsilon = \frac{1}{2}\mathbb{E}[(f - y)^2]$ without label noise."
    )
    formulas = (
        "\\begin{align*}\n"
        r"  f &= a\sum_{i=1}^{p} \lambda_i^2,\qquad"
        r" y = b\sum_{r=1}^{p^*} \lambda_r^{*2} + \sqrt{\Delta}\,\xi"
        " \\\\\n"
        r"  w_i &\leftarrow w_i - \eta\,\frac{\partial\ell}{\partial w_i},\qquad"
        r" \ell = \frac{1}{2}(f - y)^2"
        " \\\\\n"
        r"  Q &= \frac{WW^\top}{N},\qquad R = \frac{WW^{*\top}}{N},\qquad T = \frac{W^*W^{*\top}}{N}"
        "\n\\end{align*}\n"
    )
    items = [
        ("Students $p$, teachers $p^*$", f"{model.p}, {model.pstar}"),
        ("Readout", f"{model.readout}: {_READOUT[model.readout]}"),
        ("Norms", _CONSTRAINT[model.constraint]),
        ("Dynamics", _FLOW[model.flow]),
        ("Teacher", _TEACHER[model.teacher]),
        (r"Learning rate $\eta$", number(problem.eta)),
        (
            r"Variance $\Delta$ of the label noise",
            number(problem.label_noise)
            + ("" if model.flow == "sgd" else ", without effect in gradient flow"),
        ),
    ]
    if model.teacher == "general" and model.pstar > 1:
        # Several entries of T may come from a file: the extremes say what kind it is.
        items.append(("Entries of $T$", _entries(problem.T)))
    return Section(
        "model",
        "Model and conventions",
        [
            Paragraph(words(definitions)),
            Equations("Student, teacher, update and order parameters", formulas),
            Facts("Options", [(words(term), words(value)) for term, value in items]),
            Paragraph(("After ", Link("arXiv:2604.03068", PAPER), ".")),
        ],
    )


def _entries(T: Any) -> str:
    import numpy as np

    diagonal, off = np.diagonal(T), T[~np.eye(len(T), dtype=bool)]
    return f"diagonal {_range(diagonal)}, off the diagonal {_range(off)}"


def _range(values: Any) -> str:
    low, high = float(values.min()), float(values.max())
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def _equations(content: Content) -> Section:
    model = content.model
    conventions = Conventions.of(model)
    blocks = (
        "\\[\n"
        r"  C = \begin{pmatrix} Q & R \\ R^\top & T \end{pmatrix},\qquad"
        r"  D = \operatorname{diag}(\underbrace{a,\dots,a}_{p},\underbrace{-b,\dots,-b}_{p^*})"
        "\n\\]\n"
    )
    sphere = (
        [Paragraph(words("$F$ and $G$ are the drifts of $Q$ and $R$ without the constraint."))]
        if model.constraint == "sphere"
        else []
    )
    return Section(
        "equations",
        "Equations",
        [
            Paragraph(
                words(
                    r"Wick's theorem gives every moment as closed loops $\operatorname{tr}(DC)^m$ times one"
                    r" open chain $C(DC)^m$; the subscripts ss and st name its student–student and"
                    r" student–teacher blocks. With"
                )
            ),
            Equations("Definitions of C and D", blocks),
            Paragraph(words("the equations of this model are:")),
            *sphere,
            Equations("Overlap ODEs in matrices", matrix_form(conventions, "odes", model)),
        ],
        [
            Section(
                "loss-equation",
                "Generalisation error",
                [Equations("Generalisation error", matrix_form(conventions, "loss", model))],
            ),
            Section("proof", "Proof", _proof(content)),
        ],
    )


def _components(model: Model, source: str | None) -> list[Block]:
    file = f"{model.name}/{DOCUMENT}"
    where: Words = (Link(file, source, local=True),) if source is not None else (Code(file),)
    command = derive_command(model).replace("cli derive", "cli latex", 1) + " --form components"
    if model.state_size > COMPONENTS_SHOWN:
        count = f"The {integer(model.state_size)} components are left out, more than {COMPONENTS_SHOWN}."
        if model.state_size > COMPONENT_LIMIT:
            return [Paragraph((count, " This prints them:")), Command(command)]
        there = " of the generated folder, and this prints them:"
        return [Paragraph((count, " They are in ", *where, there)), Command(command)]
    return [
        Equations("Overlap ODEs in components", component_form(model, "odes")),
        Paragraph(("The same as LaTeX is in ", *where, " of the generated folder; this prints it:")),
        Command(command),
    ]


def _proof(content: Content) -> list[Block]:
    proof = content.manifest["proof"]
    if proof["method"] == "polynomial identity":
        how = "as polynomials in all order parameters and parameters, term by term"
    else:
        how = (
            f"exactly at {proof['points']} random integer points; a difference is missed with a probability"
            f" below $2^{{{proof['error_bound_log2']}}}$"
        )
    return [
        Paragraph(
            words(
                "The equations were derived by Isserlis' theorem in components, and by index-free Wick"
                " pairings in matrices, from which the code is generated. Both were compared"
                f" {how}: {integer(proof['compared'])} entries of $\\mathrm{{d}}Q$, $\\mathrm{{d}}R$ and"
                r" $\varepsilon$ agree."
            )
        )
    ]


def _trajectory(content: Content) -> Section:
    run, problem = content.run, content.start.problem
    steps = (
        f"{integer(run['steps'].item())} steps and {integer(run['evaluations'].item())} evaluations"
        if run["steps"].item()
        else f"{integer(run['evaluations'].item())} evaluations"
    )
    status = run["status"].item().replace("_", " ")
    facts_of_run = (
        f"Integrated by `{problem.method}` with relative tolerance {number(problem.rtol)} and absolute"
        f" tolerance {number(problem.atol)}: {steps}, status {status}."
    )
    loss, overlaps = figures(content)
    blocks: list[Block] = [
        Paragraph(words(facts_of_run)),
        loss,
        overlaps,
        report_tables.trajectory_table(content),
    ]
    if isinstance(content.ensemble, Unavailable) and content.start.trajectories:
        blocks.append(Paragraph(words(content.ensemble.reason)))
    return Section("trajectory", "Trajectory", blocks)


def _plateau(content: Content) -> Section:
    point = content.plateau
    if isinstance(point, Unavailable):
        blocks: list[Block] = [Paragraph(words(point.reason))]
    else:
        text = (
            "Without overlaps with the teachers, $R = 0$, the equations have a fixed point with the norms"
            f" $Q_{{ii}}$ = {number(point.q)} and the loss {number(point.loss)}"
            f" (largest entry of the drift there: {number(point.residual, 2)})."
        )
        if point.rate > 0.0:
            text += (
                f" It repels: $R$ grows as $e^{{r\\alpha}}$ with $r$ = {number(point.rate)}, in"
                f" {counted(point.multiplicity, 'direction')}."
            )
        else:
            text += " It attracts: with this learning rate $R$ decays, and trajectories do not leave it."
        blocks = [Paragraph(words(text)), report_tables.modes_table(point)]
    return Section("plateau", "Plateau and stability", [*blocks, report_tables.limits_table(content)])


def _hessian(content: Content) -> Section:
    titles = {"plateau": "At the plateau", "solution": "At a global minimum"}
    return Section(
        "hessian",
        "Hessian of the population loss",
        [
            Paragraph(
                words(
                    r"Eigenvalues in $v = w/\sqrt{N}$"
                    + (", of the steps that keep norms" if content.model.constraint == "sphere" else "")
                    + ". Negative ones lead down; zero ones are flat to second order."
                )
            )
        ],
        [Section(f"hessian-{at.place}", titles[at.place], _spectrum(at)) for at in content.hessians],
    )


def _spectrum(at: HessianAt) -> list[Block]:
    spectrum = at.spectrum
    if isinstance(spectrum, Unavailable):
        return [Paragraph(words(spectrum.reason))]
    kind = spectrum.classification if spectrum.stationary else "not stationary"
    article = "" if kind == "not stationary" else "a "
    counts = ", ".join(
        f"{integer(count)} {name}"
        for count, name in (
            (spectrum.negative, "negative"),
            (spectrum.flat, "flat"),
            (spectrum.positive, "positive"),
        )
    )
    place = "the plateau" if at.place == "plateau" else "a global minimum"
    text = (
        f"With the loss {number(at.loss)} this is {article}{kind}: {counts} directions; norm of the"
        f" gradient {number(spectrum.gradient, 2)}."
    )
    if kind == "not stationary":
        text += " The noise of SGD holds norms there that are not those of a critical point of the loss."
    return [Paragraph(words(text)), report_tables.hessian_table(spectrum, place)]


def _laws(content: Content) -> Section:
    if isinstance(content.laws, Unavailable):
        return Section("laws", "Conservation laws", [Paragraph(words(content.laws.reason))])
    note = words("In the notation of `cli invariants`: ' is the transpose, d the derivative by $\\alpha$.")
    return Section("laws", "Conservation laws", [Paragraph(note), report_tables.laws_table(content.laws)])


def _checks(content: Content) -> Section:
    text = (
        "Each claim is a number that theory predicts and this program measured; it holds if they differ by"
        " no more than allowed."
    )
    return Section("checks", "Checks", [Paragraph(words(text)), report_tables.claims_table(content.claims)])


def _provenance(content: Content, arguments: Mapping[str, Any]) -> Section:
    n = content.start.origin.get("n")
    items: list[tuple[Words, Words]] = [
        (words(term), (Code(value),)) for term, value in facts(content.manifest, arguments)
    ]
    if "overlaps" in content.start.origin:
        items.append((words("Start"), words("from the file that the command names")))
    elif n is not None:
        items.append(
            (words("Start"), words(f"random weights, $N$ = {integer(n)}, seed {arguments['seed']}"))
        )
    else:
        items.append((words("Start"), words(f"$Q = q_0 1$, random $R$, seed {arguments['seed']}")))
    return Section(
        "provenance",
        "Provenance",
        [
            Facts("Versions and digests", items),
            Paragraph(words("This command makes the report again:")),
            Command(command_line(content.model, arguments, n)),
        ],
    )
