"""Colours, light and dark, and the style sheet of the page."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.output.figures import COLOURS

# Text on its background has a contrast of 4.5:1 or more, lines and marks of 3:1 (WCAG 2.2); tested.
LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "ink": "#1b1f24",
    "faint": "#55606b",
    "link": "#0b57a4",
    "rule": "#c9d0d7",
    "panel": "#f4f6f8",
    "good": "#0d6b45",
    "bad": "#b3261e",
    "focus": "#0b57a4",
    "line-1": "#0072b2",
    "line-2": "#c44f00",
    "line-3": "#00805a",
    "line-4": "#a8527f",
    "line-5": "#8f6200",
    "line-6": "#2b7fb0",
}
DARK: Mapping[str, str] = {
    "paper": "#14181d",
    "ink": "#e8ebee",
    "faint": "#a7b1bb",
    "link": "#8ec5ff",
    "rule": "#414b56",
    "panel": "#1d232a",
    "good": "#63d6a4",
    "bad": "#ff9c94",
    "focus": "#8ec5ff",
    "line-1": "#5ab4f0",
    "line-2": "#ff8f4d",
    "line-3": "#2ccf9f",
    "line-4": "#ea9fc8",
    "line-5": "#f0b73a",
    "line-6": "#9bd5f5",
}
TEXT_PAIRS = tuple(
    (text, behind) for text in ("ink", "faint", "link", "good", "bad") for behind in ("paper", "panel")
)
LINE_COLOURS = tuple(name for name in LIGHT if name.startswith("line-"))
# What matplotlib draws with, and the variable that stands for it.
DRAWN_COLOURS: Mapping[str, str] = {
    **{colour.lower(): f"line-{k + 1}" for k, colour in enumerate(COLOURS[:6])},
    COLOURS[6].lower(): "ink",
    "#b0b0b0": "rule",
    "#cccccc": "rule",
}


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


def style_sheet() -> str:
    """The CSS of the page; nothing in it is fetched."""
    return f"""
:root {{ color-scheme: light dark; {_variables(LIGHT)} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}
{_RULES}"""


_RULES = """
*, *::before, *::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 54rem; padding: 1.5rem 1.25rem 3rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1, h2, h3 { line-height: 1.25; text-wrap: balance; }
h1 { font-size: 1.75rem; margin: 0.5rem 0 0.25rem; }
h2 { font-size: 1.35rem; margin: 2.5rem 0 0.75rem; padding-bottom: 0.25rem;
  border-bottom: 1px solid var(--rule); }
h3 { font-size: 1.1rem; margin: 1.75rem 0 0.5rem; }
p { margin: 0.75rem 0; }
.subtitle { color: var(--faint); margin-top: 0; }
a { color: var(--link); text-underline-offset: 0.15em; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
.skip { position: absolute; left: 1rem; top: -4rem; padding: 0.5rem 0.75rem; background: var(--paper);
  border: 1px solid var(--rule); }
.skip:focus { top: 0.5rem; }
nav { margin: 1.25rem 0; padding: 0.75rem 1rem; background: var(--panel); border-radius: 0.4rem; }
nav ol { margin: 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; }
.summary { font-size: 1.05em; }
.scroll { overflow-x: auto; margin: 0.75rem 0; padding: 0.15rem 0; }
.equations math { margin-block: 0.3rem; }
math { font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", "Noto Sans Math", math; }
math { font-size: 1.08em; }
math[display="block"] { width: max-content; margin-inline: 0.25rem; }
mtable.aligned { margin-inline: 0; }
mtable.aligned mtd { padding: 0.28em 0; text-align: left; text-align: -webkit-left; }
mtable.aligned mtd:first-child { min-width: 2.6em; padding-right: 0.28em; text-align: right;
  text-align: -webkit-right; }
table { min-width: min(100%, 28rem); border-collapse: collapse; font-size: 0.92rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0.25rem 0 0.5rem; color: var(--faint); }
th, td { padding: 0.35rem 0.75rem 0.35rem 0; text-align: left; vertical-align: baseline;
  border-bottom: 1px solid var(--rule); }
th + th, th + td, td + td { padding-left: 0.5rem; }
thead th { border-bottom: 2px solid var(--faint); vertical-align: bottom; }
tbody th { font-weight: inherit; }
.number { text-align: right; white-space: nowrap; }
.verdict-holds, .verdict-proved { color: var(--good); font-weight: 600; }
.verdict-fails { color: var(--bad); font-weight: 600; }
figure { margin: 1.25rem 0; }
figure svg { display: block; width: 100%; min-width: 27rem; max-width: 44rem; height: auto;
  fill: var(--ink); stroke-linejoin: round; stroke-linecap: butt; }
figcaption { color: var(--faint); font-size: 0.92em; }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: 0.35rem 1.25rem;
  margin: 0.75rem 0; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
code, pre { font: 0.9em/1.5 ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; }
code { overflow-wrap: anywhere; }
td code { overflow-wrap: normal; }
pre { margin: 0.75rem 0; padding: 0.6rem 0.8rem; background: var(--panel); border-radius: 0.4rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
footer { margin-top: 2.5rem; padding-top: 0.75rem; border-top: 1px solid var(--rule); color: var(--faint);
  font-size: 0.9rem; }
@media (max-width: 36rem) {
  body { padding: 1rem 0.9rem 2rem; }
  h1 { font-size: 1.4rem; }
  dl { grid-template-columns: 1fr; gap: 0.1rem; }
  dd { margin-bottom: 0.6rem; }
}
@page { size: A4; margin: 17mm 15mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .skip { display: none; }
  h1 { font-size: 17pt; } h2 { font-size: 13pt; margin-top: 1.5rem; } h3 { font-size: 11pt; }
  h2, h3, caption, thead, thead tr { break-after: avoid; }
  p, dl > *, tr, figure, pre { break-inside: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; }
  math[display="block"] { font-size: 0.95em; }
  table { font-size: 8.5pt; }
  figure svg { min-width: 0; max-width: 15cm; }
  a { color: inherit; }
  a[href^="http"]::after { content: " (" attr(href) ")"; font-size: 0.9em; }
}
"""
