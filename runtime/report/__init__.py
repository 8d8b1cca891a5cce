"""Writes a report on one model: equations, a trajectory, plateau, Hessian and checks in one HTML file.

`findings` computes what the report says, `model_checks` and `solution_checks` judge it, `report_tables` and
`report_figures` arrange it, and `page` fills the templates of this folder (`*.html.j2`, `report.css`).
"""
