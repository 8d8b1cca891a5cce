"""The page: valid, accessible, readable in the dark, self-contained, escaped, the same each time."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from all_commands import COMMANDS

from runtime.output.result_table import Column, Table
from runtime.report.page import environment, words
from runtime.report.provenance import command_line
from tests.runtime.report.conftest import attributes_of, parse

ROOT = Path(__file__).parents[3]
SMALL = "--p 2 --pstar 1 --alpha 5"
EVIL = """<script>alert("1")</script> & ' " {{ x }} {% y %}"""
SHEET = (ROOT / "runtime" / "report" / "report.css").read_text()
# The colours by name, in light and in dark.
LIGHT, DARK = (
    dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", rules))
    for rules in re.findall(r":root \{([^}]*)\}", SHEET)
)


@pytest.fixture
def made(report_of):
    return report_of(SMALL)


def test_the_page_is_html_with_a_language_and_one_title(made):
    assert made.text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert [e.tag for e in made.elements].count("title") == 1 + 2  # of the page and of two figures
    assert [e.tag for e in made.elements].count("h1") == 1
    ids = attributes_of(made.elements, "id")
    assert len(ids) == len(set(ids))


def test_headings_are_in_order(made):
    levels = [int(e.tag[1]) for e in made.elements if re.fullmatch("h[1-6]", e.tag)]
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))


def test_landmarks_and_a_way_past_the_contents(made):
    tags = [e.tag for e in made.elements]
    for landmark in ("header", "nav", "main", "footer"):
        assert tags.count(landmark) == 1
    ids = set(attributes_of(made.elements, "id"))
    targets = [e.attributes["href"][1:] for e in made.elements if e.attributes.get("href", "")[:1] == "#"]
    assert targets[0] == "content"
    assert set(targets) <= ids
    for names in attributes_of(made.elements, "aria-labelledby"):
        assert set(names.split()) <= ids


def test_tables_have_captions_and_scopes(made):
    tables = [e for e in made.elements if e.tag == "table"]
    assert len([e for e in made.elements if e.tag == "caption" and e.text]) == len(tables) >= 6
    assert {e.attributes.get("scope") for e in made.elements if e.tag == "th"} == {"col", "row"}


def test_what_scrolls_can_be_reached_by_keys_and_has_a_name(made):
    boxes = [e for e in made.elements if "scroll" in e.attributes.get("class", "").split()]
    assert boxes
    for box in boxes:
        assert box.attributes["role"] == "region"
        assert box.attributes["tabindex"] == "0"
        assert box.attributes["aria-label"].strip()
    for element in made.elements:
        if element.tag == "table" or element.attributes.get("display") == "block":
            assert "div" in element.around
    names = [box.attributes["aria-label"] for box in boxes]
    assert len(names) == len(set(names))


def test_figures_are_described(made):
    pictures = [e for e in made.elements if e.tag == "svg"]
    # Their letters of 8 points or more are read where a phone shows them in 360 pixels.
    assert all(float(e.attributes["viewbox"].split()[2]) < 360 for e in pictures)
    assert len(pictures) == 2
    assert all(e.attributes["role"] == "img" for e in pictures)
    texts = [e.text for e in made.elements if e.tag == "desc"]
    assert all(len(text) > 80 and re.search(r"\d", text) for text in texts)
    assert len([e for e in made.elements if e.tag == "figcaption" and e.text]) == 2


def test_nothing_is_fetched_and_nothing_runs(made):
    tags = {e.tag for e in made.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image"}
    assert not attributes_of(made.elements, "src")
    assert not [n for e in made.elements for n in e.attributes if n.startswith("on")]
    addresses = [(e.tag, a) for e in made.elements for n, a in e.attributes.items() if n.endswith("href")]
    outside = {(tag, a) for tag, a in addresses if ":" in a or a.startswith("//")}
    assert outside == {("a", "https://arxiv.org/abs/2604.03068")}
    assert "http" not in made.text.replace("https://arxiv.org/abs/2604.03068", "").replace(
        '"http"', ""
    ).replace("http-equiv", "")
    assert not re.search(r"url\((?!#)|@import", made.text)
    policy = next(e for e in made.elements if "http-equiv" in e.attributes)
    assert policy.attributes["content"].startswith("default-src 'none'")


def test_no_folder_of_this_machine_is_told(made):
    for place in (str(made.path.parent), str(ROOT), os.path.expanduser("~/")):
        assert place not in made.text


# --- colours -----------------------------------------------------------------------------


def luminance(colour):
    channels = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255.0
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_is_enough(colours):
    for text, behind in itertools.product(("ink", "faint", "link", "good", "bad"), ("paper", "panel")):
        assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)
    for line in [name for name in colours if name.startswith("line-")] + ["focus"]:
        assert contrast(colours[line], colours["paper"]) >= 3.0, line


def test_every_colour_is_a_variable_of_the_style_sheet_those_of_figures_too(made):
    assert set(LIGHT) == set(DARK)
    assert len([name for name in LIGHT if name.startswith("line-")]) == 6
    assert SHEET.strip() in made.text
    assert not re.search("#[0-9a-fA-F]{6}", SHEET.split("}", 3)[3])
    assert set(re.findall(r"var\(--([a-z0-9-]+)\)", made.text)) <= set(LIGHT)
    for style in attributes_of(made.elements, "style"):
        assert not re.search("#[0-9a-fA-F]{3}", style), style
    themes = [e.attributes["content"] for e in made.elements if e.attributes.get("name") == "theme-color"]
    assert themes == [LIGHT["paper"], DARK["paper"]]
    assert "@media print" in SHEET
    assert "screen and (prefers-color-scheme: dark)" in SHEET


# --- escaping ----------------------------------------------------------------------------


def test_every_text_is_escaped_wherever_it_stands():
    table = Table([Column(EVIL), Column(EVIL, "8.3f")], [(EVIL, EVIL)], EVIL)
    template = environment().from_string(
        """{% import "elements.html.j2" as show %}{{ show.table(evil_table) }}{{ show.said(evil) }}
        {{ show.command(evil) }}{% call show.fact(evil) %}{{ evil }}{% endcall %}
        {% call show.section("one", evil) %}{% call show.paragraph() %}{{ evil }}{% endcall %}
        {% endcall %}"""
    )
    elements = parse(template.render(evil=EVIL, evil_table=table))
    assert "script" not in {e.tag for e in elements}
    texts = [e.text for e in elements if e.tag in ("h2", "code", "dt", "dd", "td", "th", "caption", "p")]
    assert len(texts) == 11
    assert set(texts) == {EVIL}
    assert attributes_of(elements, "aria-label") == [EVIL]


def test_marks_in_texts_of_ours_become_mathematics_and_code():
    text = words("at $x < y^2$ by `f<T>` & <b>")
    assert re.fullmatch("at <math>.*</math> by <code>f&lt;T&gt;</code> &amp; &lt;b&gt;", text)
    assert "<mo>&lt;</mo>" in text
    assert words("no marks") == "no marks"
    # A mark after a formula stays in its line.
    assert re.fullmatch('<span class="whole"><math>.*</math>,</span> and', words("$x$, and"))


def test_a_stacked_table_keeps_its_roles_and_names_each_cell():
    table = Table([Column("claim"), Column(r"largest $\eta$", "8.3f")], [(EVIL, 0.5)], "Claims.")
    template = environment().from_string(
        '{% import "elements.html.j2" as show %}{{ show.table(claims, stacked=stacked) }}'
    )
    elements = parse(template.render(claims=table, stacked=True))
    roles = [(e.tag, e.attributes["role"]) for e in elements if e.tag != "div" and "role" in e.attributes]
    assert roles == [
        ("table", "table"),
        *(("thead", "rowgroup"), ("tr", "row"), ("th", "columnheader"), ("th", "columnheader")),
        *(("tbody", "rowgroup"), ("tr", "row"), ("th", "rowheader"), ("td", "cell")),
    ]
    assert attributes_of(elements, "data-title") == ["largest eta"]
    plain = parse(template.render(claims=table, stacked=False))
    assert [e.attributes["role"] for e in plain if "role" in e.attributes] == ["region"]


def test_laws_are_typeset(made):
    (laws,) = (e for e in made.elements if e.attributes.get("id") == "laws")
    start = made.text.index('<section id="laws"')
    section = made.text[start : made.text.index("</section>", start)]
    assert section.count("<math>") > 20
    assert "<code>" not in section
    assert "S=Q−RR⊤" in laws.text


def test_files_with_any_name(call, tmp_path):
    name = "a b<i>&\"'$x$`"
    np.savez(tmp_path / f"{name}.npz", Q=np.eye(2), R=np.full((2, 1), 0.1))
    options = ["--overlaps", f"{name}.npz", "--out", f"{name}.html"]
    code, out, _ = call("report --p 2 --pstar 1 --alpha 5 --quiet", *options)
    assert (code, out) == (0, f"{name}.html\n")
    elements = parse((tmp_path / f"{name}.html").read_text())
    assert "i" not in {e.tag for e in elements}
    command = [e.text for e in elements if e.tag == "pre"][-1]
    words_of = shlex.split(command)
    assert words_of[words_of.index("--overlaps") + 1] == f"{name}.npz"
    assert words_of[words_of.index("--out") + 1] == f"{name}.html"
    # What a start from a file refuses.
    assert not {"--seed", "--q0", "--trajectories"} & set(words_of)
    assert "Digest of the start" in "".join(e.text for e in elements if e.tag == "dt")


# --- the same each time --------------------------------------------------------------------


def test_the_command_in_the_report_makes_the_same_bytes_in_another_process(made, tmp_path):
    *_, again = (e.text for e in made.elements if e.tag == "pre")
    command = [sys.executable, str(ROOT / "cli.py"), *shlex.split(again)[1:]]
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=120)
    assert (tmp_path / made.path.name).read_bytes() == made.path.read_bytes()


def test_the_date_is_there_only_if_asked_for(call, made, tmp_path):
    assert "<dt>Date</dt>" not in made.text
    assert call("report --p 1 --pstar 1 --eta 0.05 --alpha 2 --trajectories 0 --quiet --date")[0] == 0
    text = (tmp_path / "report.html").read_text()
    assert re.search(r"<dt>Date</dt><dd><code>\d{4}-\d\d-\d\d</code>", text)
    assert " --date " in text


def test_the_command_line_has_every_option():
    """An option that is forgotten would make another report."""
    from derive import Model

    given = {option.name: option.default for option in COMMANDS["report"].params}
    given |= {"n": None, "ideal": 0.01, "alpha": [0.0, 0.1, 2.5], "overlaps": None}
    given |= {"teacher_correlation": 1 / 3, "date": True, "out": Path("/some/where/z.html")}
    given |= {"student_weights": "-1,1,1", "teacher_weights": "power:1", "eta_second": 0.2}
    given |= {"schedule": "inverse:50"}
    conventions = {"constraint": "sphere", "flow": "gradient", "teacher": "general", "readout": "sqrt"}
    conventions |= {"activation": "he3", "teacher_activation": "he2"}
    model = Model(3, 2, **conventions, second_layer="trained")
    line = command_line(model, given, None)
    assert "/some" not in line
    used = {word for word in shlex.split(line) if word.startswith("--")}
    silent = {"--generated", "--json", "--quiet", "--n", "--overlaps", "--teacher-spectrum", "--T"}
    assert used | silent == {option.opts[-1] for option in COMMANDS["report"].params}
    words_of = shlex.split(line)
    assert words_of[words_of.index("--alpha") + 1] == "0,0.1,2.5"
    assert float(words_of[words_of.index("--teacher-correlation") + 1]) == 1 / 3
    assert words_of[words_of.index("--student-weights") + 1] == "-1,1,1"
    for name, value in (("teacher_spectrum", "1,0.5"), ("T", Path("/some/where/T.csv"))):
        other = shlex.split(command_line(model, given | {"teacher_correlation": 0.0, name: value}, None))
        assert other[other.index(f"--{name.replace('_', '-')}") + 1] == Path(value).name
        assert "--teacher-correlation" not in other
    assert "--eta-second" not in command_line(Model(3, 2), given | {"eta_second": None}, None)
