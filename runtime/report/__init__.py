"""A report on one model: equations, a trajectory, plateau, Hessian and checks in one file.

In order: `content` computes, `sections` says it in words, tables, equations and figures (`blocks`),
`page` writes these as HTML and `tex` as LaTeX, `pdf` prints either; `command` does all of it.
"""
