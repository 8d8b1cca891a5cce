"""Says in sentences of LaTeX what every symbol of the printed equations means, for documents and papers."""

from __future__ import annotations

from derive.emit.activation_text import activation_sentence, is_polynomial, teacher_letter
from derive.model import DerivableModel, Model
from derive.readout import READOUTS

_CONSTRAINT = {
    "free": "Norms are free.",
    "sphere": (
        "On the sphere, every student is rescaled to its norm after each step, which undoes the decay;\n"
        r"$F$ and $G$ are the drifts of $Q$ and $R$ before rescaling."
    ),
}
_FLOW = {
    "sgd": r"The terms in ${noise}$ are the noise of SGD.",
    "gradient": r"This is gradient flow on the population loss, without terms in ${noise}$.",
}
_TEACHER = {
    "orthonormal": r"The teacher is orthonormal, $T = 1$.",
    "general": r"The teacher's overlaps $T$ are constant parameters.",
}
_SECOND_LAYER = {
    "ones": "",
    "fixed": "\nThe second-layer weights $v_i$ and $v^*_r$ are constant parameters of any sign.",
    "trained": r"""
The second layer is trained, $v_i \leftarrow v_i - (\eta_v/N)\,\partial\ell/\partial v_i$ in each step, with
the learning rate $\eta_v$. That of the teacher, $v^*_r$, is constant. Weights may have any sign.""",
}


def network_sentences(model: DerivableModel) -> str:
    """Student, teacher, loss and overlaps, up to what is said about R and T."""
    v, vstar = ("v_i", r"v^*_r") if model.weighted else ("", "")
    student, teacher = r"\lambda_i^2", r"\lambda_r^{*2}"
    if is_polynomial(model):
        student, teacher = r"\,\sigma(\lambda_i)", rf"\,{teacher_letter(model)}(\lambda_r^*)"
    readout = READOUTS[model.to_dict()["readout"]]
    return rf"""The student is $f = a\sum_{{i=1}}^{{p}} {v}{student}$ with
$\lambda_i = w_i\cdot x/\sqrt{{N}}$, the teacher
$y = b\sum_{{r=1}}^{{p^*}} {vstar}{teacher} + \sqrt{{\Delta}}\,\xi$ with
$\lambda^*_r = w^*_r\cdot x/\sqrt{{N}}$. The readout weights are {readout.inline}.
The inputs are $x \sim \mathcal{{N}}(0, 1_N)$, the label noise has $\xi \sim \mathcal{{N}}(0, 1)$ and the
variance $\Delta$, and the loss is $\ell = \frac{{1}}{{2}}(f - y)^2$.
The generalisation error $\varepsilon$ is the mean loss without label noise. The order parameters are
$Q = WW^\top/N$"""


_STEP = r"""A step of SGD is
$w_i \leftarrow w_i - \eta\,\partial\ell/\partial w_i$ with the learning rate $\eta$ and the mean of $\ell$
over $B$ fresh samples, then $w_i \leftarrow (1 - \eta\gamma/N)\,w_i$, which is weight decay. The time is
$\alpha = \text{steps}/N$."""


def step_sentences(model: DerivableModel, form: str = "matrix") -> str:
    """The step of SGD, the time, and where its noise is in the equations."""
    flow = _FLOW[model.to_dict()["flow"]].format(noise=_noise(model, form))
    return f"{_STEP} {flow}"


def _noise(model: DerivableModel, form: str) -> str:
    """The letter by which the noise of SGD is known in a form."""
    if form == "expanded":
        return r"\eta^2"
    if not model.weighted or model.kind == "sector":
        return r"\kappa^2"
    return r"\kappa_i\kappa_j" if form == "components" or is_polynomial(model) else "KSK"


def definitions(model: Model, form: str = "matrix", what: str = "odes", any_widths: bool = False) -> str:
    """Sentences that define what the equations of a form and a subject refer to."""
    v = ", $v$" * model.trained
    sentences = [
        f"{network_sentences(model)},",
        rf"$R = WW^{{*\top}}/N${v} and $T = W^*W^{{*\top}}/N$, where $W$ has the rows $w_i$ and $W^*$ has",
        f"the rows $w^*_r$. {_TEACHER[model.teacher]}{_SECOND_LAYER[model.second_layer]}",
    ]
    if what == "diffusion":
        constraint = _CONSTRAINT[model.constraint].partition(";")[0].rstrip(".")
        sentences += [_STEP, f"{constraint}."]
    elif what != "loss":
        sentences += [step_sentences(model, form), _CONSTRAINT[model.constraint]]
    if not any_widths:
        sentences.append(f"The widths are $p = {model.p}$ and $p^* = {model.pstar}$.")
    if what == "diffusion":
        # The change of other activations than λ² has a formula of its own.
        sentences += [] if is_polynomial(model) and model.flow == "sgd" else [_CHANGES[model.flow]]
    elif is_polynomial(model):
        sentences.append(_graphs(model, form))
    elif form != "expanded":
        sentences.append(_diagrams(model, form, what))
    if what == "jacobian":
        sentences.append(_change(model, form))
    return "\n".join(sentences) + "\n"


_CHANGES = {
    "sgd": r"""One step changes $N$ times the overlap of the units $i$ and $j$ by the mean of $\delta_{ij}$
over the batch. Students come first among the units, and the weights of teachers rest. $\mathcal{D}$ is the
covariance of these changes at given overlaps. By Wick's theorem its moments are sums of products of closed
loops $s$, $t$, $u$ and $w$ and of two open chains $K^m$.""",
    "gradient": "Gradient flow has no noise, so that only the spread of the start is transported.",
}


def _change(model: Model, form: str) -> str:
    """What the derivatives of the Jacobian are."""
    if form == "components":
        return "Derivatives that are not listed are zero."
    changes = r"$\delta Q$ and $\delta R$"
    if model.trained:
        changes = r"$\delta Q$, $\delta R$ and $\delta D_v$"
    return rf"Here $\delta$ marks changes to first order where {changes} are those of the order parameters."


# The lines of the second layer as matrices.
SECOND_LAYER = (
    ("D_v", r"\operatorname{diag}(v_1,\dots,v_p)"),
    ("D_{v^*}", r"\operatorname{diag}(v_1^*,\dots,v_{p^*}^*)"),
)
COVARIANCE = r"C = \begin{pmatrix} Q & R \\ R^\top & T \end{pmatrix}"


def covariance(model: Model) -> str:
    """C and, for the activation λ², D, which fit a column."""
    if is_polynomial(model):
        return COVARIANCE
    weights = r"\operatorname{diag}(\underbrace{a,\dots,a}_{p},\underbrace{-b,\dots,-b}_{p^*})"
    if model.weighted:
        weights = r"\begin{pmatrix} aD_v & 0 \\ 0 & -bD_{v^*} \end{pmatrix}"
    return rf"{COVARIANCE},\qquad D = {weights}"


def _diagrams(model: Model, form: str, what: str) -> str:
    """C, D, the chains and loops of Wick's theorem, and the moments that have letters."""
    sentences = [
        f"With\n\\[\n  {covariance(model)},\n\\]",
        r"Wick's theorem makes each moment a sum of products of closed loops $\operatorname{tr}((DC)^m)$",
        r"and one open chain $C(DC)^m$. The subscripts ss and st stand for the student--student and",
        "student--teacher blocks.",
    ]
    if form == "components":
        sentences += [
            r"In components, $s = \operatorname{tr}(DC)$, $t = \operatorname{tr}(DCDC)$,",
            r"$X = (CDC)_{\mathrm{ss}}$, $Y = (CDC)_{\mathrm{st}}$ and $Z = (CDCDC)_{\mathrm{ss}}$.",
        ]
        if model.weighted:
            matrices = " and ".join(f"${name} = {diagonal}$" for name, diagonal in SECOND_LAYER)
            sentences.append(f"The second layers are in {matrices}.")
    if model.weighted and what != "loss":
        noise = r", and $S$ that of $\mathrm{E}[e^2zz^\top]/B$" if model.flow == "sgd" else ""
        sentences += [
            r"With $z = (\lambda, \lambda^*)$ and the error $e = f - y$, $M$ is the student--student block",
            rf"of $\mathrm{{E}}[e\,zz^\top]${noise}.",
        ]
    return "\n".join(sentences)


def _graphs(model: Model, form: str) -> str:
    """The activations, and what the letters of the sums over units are."""
    weights = "av_i$ of students and $-bv^*_r" if model.weighted else "a$ of students and $-b"
    plural = "s are" if model.teacher_activation is not None else " is"
    teacher = r", $h_k^*(q)$ that of $\sigma^*$" if model.teacher_activation is not None else ""
    stars = "\nLetters of teachers have a star." if form == "components" else ""
    return rf"""The activation{plural} {activation_sentence(model)}.
The pre-activations of all units, $z = (\lambda, \lambda^*)$, are Gaussian with the covariance
\[
  {COVARIANCE}.
\]
Indices $i$ and $j$ are students, $r$ is a teacher, and $m$ and $n$ are units of either kind, which have
the weights ${weights}$ of teachers in the error $e = f - y$. A Gaussian mean of a product of
functions of units is a sum over multigraphs between them: $k$ edges between $u$ and $v$ are worth
$C_{{uv}}^k/k!$, and each function is differentiated once for each edge at its unit. What remains is
$h_k(q) = \mathrm{{E}}[\sigma^{{(k)}}(z)]$ for $z \sim \mathcal{{N}}(0, q)${teacher}. For other $k$ it is
zero.{stars}"""
