"""Wrong command lines of every command: one line that names the option, exit code 2, nothing written.

Files that commands read are in the folder; systems that they may load are in its subfolder "systems", so
that a system derived by mistake would appear as "generated".
"""

from __future__ import annotations

import os
import shlex
import sys

import numpy as np
import pytest
import xarray

import cli
from derive import Model, overlap_odes
from derive.model import OPTIONS
from derive.parameters import NUMBERS
from runtime.start import chosen_start

# --- values of options that several commands have ------------------------------------------------

WIDTHS = ["0", "-1", "1.5", "1e6", "1000000", "257", "１６", "1_6", " 4", "", "nan", "9" * 30, "0x4"]
RATES = ["nan", "inf", "-inf", "-1", "0", "1e400", "", "x", "1,2", "٣", "0x1p3", "1_0"]
OF_MODELS = {
    f"--{name.replace('_', '-')}": ["", "any", values.default.upper()] for name, values in OPTIONS.items()
}
POLYNOMIALS = [
    "",
    "any",
    "He3",
    "he0",
    "he7",
    "he2+",
    "he2-he3",
    "1",
    "0,0",
    "0,nan",
    "1/0,1",
    "1e3,1",
    "0,,1",
]
POLYNOMIALS += ["0,0,0,0,0,0,0,1", "0,0.0000000000001", "0,__import__('os')", "he2;he3"]
OF_MODELS |= {"--activation": POLYNOMIALS, "--teacher-activation": POLYNOMIALS}
NUMBERS_OUT_OF_RANGE = {
    f"--{number.name.replace('_', '-')}": ["nan", "inf", str(number.least - 1)]
    + [str(number.least)] * number.strict
    for number in NUMBERS
}
VALUES = {
    "--p": WIDTHS,
    "--pstar": WIDTHS,
    **OF_MODELS,
    **NUMBERS_OUT_OF_RANGE,
    "--eta": RATES,
    "--alpha": ["0", "-1", "nan", "inf", "1e400", "3,2", "1,1", "-1,2", "1,,2", ",", "1,nan"],
    "--n": ["0", "1", "-5", "1.5", "1" + "0" * 19],
    "--seed": ["-1", "1.0", str(2**63)],
    "--q0": ["0", "-1", "nan"],
    "--ideal": ["-1", "2", "nan"],
    "--teacher-correlation": ["0.5", "nan"],
    "--teacher-spectrum": ["1,1", "", "random"],
    "--T": ["with_teacher.npz", "missing.csv", ".", ""],
    "--student-weights": ["1,1,1,1", "1,,1,1", "nan,1,1,1", "-1", "power:", "ones"],
    "--teacher-weights": ["1,-1", "x"],
    "--overlaps": ["missing.npz", "missing.nc", "run.txt", ".", "asymmetric.npz"],
    "--out": ["run.txt", "run", ".", "", "no/folder/run.nc", "/dev/null"],
    "--plot": ["run.gif", "run", ".", "no/folder/run.png"],
}
TOLERANCES = {"--rtol": ["0", "-1", "1e-20", "nan"], "--atol": ["0", "-1", "nan"]}
RUNS = {
    "--threads": ["0", "-1", "4097", "many"],
    "--trajectories": ["0", "-1", "1e3", str(2**41), str(10**10)],
}
FAR = "a" * 300
OF_COMMAND = {
    "integrate": VALUES
    | TOLERANCES
    | {"--method": ["", "euler", "scipy:", "scipy:lsoda"], "--generated": [FAR]},
    "simulate": VALUES
    | RUNS
    | {"--method": ["", "euler", "prince8"], "--n": [*VALUES["--n"], "100,200", str(10**9 + 1)]}
    | {"--alpha": [*VALUES["--alpha"], "1e-9", "1e30"], "--flow": ["gradient"]},
    "compare": VALUES
    | RUNS
    | {"--n": ["0", "100", "100,100", "200,100", "100,", "100,133", "1.5,3", "0,5"]}
    | {"--alpha": [*VALUES["--alpha"], "1e-9"], "--flow": ["gradient"], "--generated": [FAR]}
    | {"--trajectories": [*RUNS["--trajectories"], "15"]},
    "ensemble": TOLERANCES
    | {"--trajectories": ["0", "1e3"], "--threads": ["0"], "--eta": ["-1"], "--ideal": ["2"]}
    | {"--method": ["scipy:LSODA"], "--output": ["everything"], "--stop-loss": ["nan"]}
    | {"--out": ["run.txt"]},
    "report": {"--out": ["report.txt", "report", "no/folder/report.html", ".", "", "/dev/null/report.html"]}
    | {"--trajectories": ["-1", "1e3", "10000000"], "--eta": ["0"], "--n": ["1"], "--alpha": ["0"]}
    | {"--method": ["euler"], "--overlaps": ["missing.npz"], "--teacher-correlation": ["0.5"]}
    | {"--p": ["0"], "--constraint": ["ball"], "--activation": ["he7"]},
    "exponent": {"--activation": [*POLYNOMIALS[:4], "he3;", "he3;0,-3,0,1"], "--overlap": ["0", "1", "nan"]}
    | {"--n": ["0", "4", "100,100", "1e3"], "--out": ["run.txt"], "--plot": ["run.gif"]},
}
SINGLE = [
    (f"{command} {option} {shlex.quote(value)}", f"{option}: ")
    for command, options in OF_COMMAND.items()
    for option, values in options.items()
    for value in values
]

# --- lines of all commands: what begins the error after "cli: " ----------------------------------

FIXED = "--second-layer fixed"
# What is said of second layers, teachers and schedules by the commands that take all of these.
OF_LAYERS = {
    "--student-weights 1,1,1,1": "--student-weights: is not a parameter of p4_pstar2: it needs",
    "--eta-second 0.1": "--eta-second: is not a parameter of p4_pstar2: it needs second_layer = trained",
    f"{FIXED} --eta-second 0.1": "--eta-second: is not a parameter of p4_pstar2_fixed",
    "--second-layer trained": "--eta-second: is required",
    f"{FIXED} --student-weights 1,-1": "--student-weights: '1,-1' has 2 numbers, not 4",
    f"{FIXED} --student-weights 1,2,3,nan": "--student-weights: 'nan' is not a finite number: give 4",
    f"{FIXED} --student-weights power:x": "--student-weights: 'power:x' is not power: and a number",
    f"{FIXED} --teacher-weights 1,1e999": "--teacher-weights: '1e999' is not a finite number: give 2 such",
    f"{FIXED} --teacher-weights power:-9999": "--teacher-weights: has entries that are not finite",
    "--teacher-spectrum 1,0.5": "--teacher-spectrum: needs --teacher general",
    "--teacher general --teacher-spectrum 1": "--teacher-spectrum: '1' has 1 numbers, not 2",
    "--teacher general --teacher-spectrum 1,-1": "--teacher-spectrum: -1 is negative",
    "--teacher general --teacher-spectrum 1,x": "--teacher-spectrum: 'x' is not a finite number:"
    " give 2 such as 1,0.5, or power:1",
    "--teacher general --T missing.csv": "--T: missing.csv does not exist",
    "--teacher general --T text.npz": "--T: text.npz cannot be read: it is not an .npz file",
    "--teacher general --T good.npz": "--T: good.npz has no array T",
    "--teacher general --T nan.csv": "--T: nan.csv has entries that are not finite, the first at [0, 1]",
    "--teacher general --T teacher.npz --teacher-spectrum 1,1": "--T: does not go with --teacher-spectrum",
    "--batch 0": "--batch: 0 is not a whole number of at least 1",
    "--batch 2.5": "--batch: '2.5' is not an integer",
    "--weight-decay -1": "--weight-decay: -1.0 is not a finite number of at least 0",
}
OF_SCHEDULES = {
    "exponential": "--schedule: 'exponential' is not one of constant, exponential:50",
    "inverse:0": "--schedule: 'inverse:0': the time 0 is not greater than 0",
    "inverse:nan": "--schedule: 'nan' in 'inverse:nan' is not a finite number",
    "1:1": "--schedule: '1:1' does not begin with time 0",
    "0:1,5:2,3:1": "--schedule: time 3 does not come after 5",
    "0:1,5:-2": "--schedule: the factor -2 from 5 on is negative",
}
LINES = {
    "nonsense": "'nonsense' is not a command; see `cli --help`",
    "integrat": "'integrat' is not a command; perhaps you mean integrate; see `cli --help`",
    "help nonsense": "'nonsense' is not a command; see `cli --help`",
    "--nonsense": "No such option",
    "completion": "SHELL: is missing; one of bash, zsh, fish",
    "completion powershell": "SHELL: 'powershell' is not one of 'bash', 'zsh', 'fish'",
    # derive, latex, list
    "derive --p": "Option '--p' requires an argument",
    "derive --generated /dev/null": "--generated: ",
    "derive --generated /dev/null/deeper": "--generated: ",
    "derive --sector --p 3": "--p does not go with --sector",
    "derive --show python --json": "--json does not go with --show",
    "derive --show python --generated here": "--generated does not go with --show",
    "derive --show llvm --sector": "--show llvm does not go with --sector",
    "derive --sector --constraint sphere": "--constraint: 'sphere' has no invariant sector",
    "latex --p 4": "--pstar is missing: give both widths or none",
    "latex --pstar 4": "--p is missing",
    "latex --form components": "--form components needs --p and --pstar",
    "latex --form pretty": "--form: ",
    "latex --form expanded --activation he3": "--form: 'expanded' is the form of the activation",
    "latex --what everything": "--what: ",
    "latex --out equations.doc": "--out: ",
    "latex --p 0 --pstar 1": "--p: ",
    "list --generated /dev/null": "--generated: ",
    f"list --generated {FAR}": "--generated: ",
    # integrate, ensemble
    "integrate --nonsense": "No such option",
    "integrate extra": "Got unexpected extra argument (extra); see `cli integrate --help`",
    "integrate --n 100 --ideal 0.1": "--ideal: does not go with --n",
    "integrate --n 100 --overlaps a.npz": "--overlaps: does not go with --n",
    "integrate --teacher general --teacher-correlation 1.5": "--teacher-correlation: ",
    "integrate --out no/run.nc": "--out: 'no' is not an existing folder: make it first",
    # Several values where one is meant: a sweep of this command runs each, if there is one.
    "integrate --p 2,4,8": "--p: takes one value, not '2,4,8': `cli sweep --p 2,4,8 --out FOLDER` runs",
    "simulate --n 50,70": "--n: takes one value, not '50,70': `cli sweep --job chain --n 50,70 --out",
    "ensemble --threads 1,2": "--threads: takes one value, not '1,2'\n",
    "plateau --p 2,4": "--p: takes one value, not '2,4'\n",
    "integrate --p 2,x": "--p: '2,x' is not an integer",
    "integrate --alpha 10,,": "--alpha: '' is not a finite number",
    "integrate --alpha 1,3,2": "--alpha: 2 is out of place: times are 0 or more and strictly",
    "integrate --seed -1": "--seed: -1 is not an integer from 0 to 2^63 - 1",
    "integrate --n 1": "--n: 1 is not an integer from 2 to 10^18",
    "integrate --q0 1 --overlaps good.npz": "--q0: does not go with --overlaps: the start is that of",
    "integrate --seed 0 --overlaps good.npz": "--seed: does not go with --overlaps",
    "integrate --overlaps q.npz": "--overlaps: Q0 is not positive semi-definite: its diagonal has -1",
    "integrate --overlaps r.npz": "--overlaps: R0 belongs to no weights: [[Q0, R0], [R0', T]] is not",
    "integrate --overlaps widths.npz": "--overlaps: Q0 has the shape (3, 3), not (4, 4)",
    "integrate --overlaps infinite.npz": "--overlaps: R0 ",
    "integrate --overlaps words.npz": "--overlaps: words.npz cannot be read: R has the type",
    "integrate --overlaps teacher.npz": "--overlaps: the file has a T that is not 1: this needs --teacher",
    "integrate --overlaps objects.npz": "--overlaps: objects.npz cannot be read: it is damaged",
    "integrate --overlaps text.nc": "--overlaps: text.nc cannot be read: it is not a netCDF file",
    "integrate --overlaps text.npz": "--overlaps: text.npz cannot be read: it is not an .npz file",
    "ensemble --method rk4": "--method: 'rk4' is not one of prince8, dop853, tsit5\n",
    "ensemble --n 100 --ideal 1e-3": "--ideal: does not go with --n",
    "ensemble --output final --plot a.png --log-x": "--log-x: needs losses over time: --output statistics",
    "ensemble --log-x": "--log-x: is about the figure of --plot",
    "ensemble --trajectories 100000000 --output all": "--trajectories: 100000000 need ",
    # The first start is allowed, a later one is not.
    "ensemble --trajectories 1000 --ideal 0.33": "--ideal: 0.33 is too large: no weights have Q0 = 1 and",
    # report
    "report --trajectories 500 --ideal 0.33": "--ideal: 0.33 is too large",
    "report --seed 0 --overlaps good.npz": "--seed: does not go with --overlaps",
    "report --trajectories 200 --overlaps good.npz": "--trajectories: does not go with --overlaps",
    "report --n 100 --ideal 1e-3": "--ideal: does not go with --n",
    # simulate, compare
    "simulate --alpha 1e308": "--alpha: 1e+308 is too long",
    "simulate extra": "Got unexpected extra argument",
    "simulate --p": "Option '--p' requires an argument",
    "simulate --method weights --n 1000000000 --alpha 1e-8 --trajectories 1": "--n: 1000000000 is too",
    "simulate --n 5 --eta 0.01 --overlaps good.npz": "--n: 5 is less than 6: these overlaps need 4",
    "simulate --n 100 --alpha 0,0.001,5": "--alpha: 0 and 0.001 are the same whole step at n = 100: a step",
    "compare --n 50,100 --alpha 0,0.001,5": "--alpha: 0 and 0.001 are the same whole step at n = 50: a",
    "compare --n 2,4 --alpha 0,5": "--n: ",
    "compare --overlaps good.npz --seed -1": "--seed: -1 is not an integer from 0",
    **{
        f"{command} {line}": words
        for command in ("simulate", "compare")
        for line, words in {
            "--ideal 0.1 --overlaps a.npz": "--overlaps: does not go with --ideal",
            "--teacher general --teacher-correlation 1.5": "--teacher-correlation: ",
            "--trajectories 100000 --alpha 1e4 --p 30 --pstar 30": "--trajectories: 100000 need ",
            "--overlaps with_teacher.npz --q0 1": "--q0: does not go with --overlaps",
            "--overlaps with_teacher.npz --teacher-correlation 0": "--teacher-correlation: does not go",
            "--overlaps q.npz": "--overlaps: Q0 is not positive",
            "--overlaps widths.npz": "--overlaps: Q0 has the shape",
            "--overlaps infinite.npz": "--overlaps: ",
            "--overlaps teacher.npz": "--overlaps: the file has a T that is not 1",
        }.items()
    },
    **{
        f"{command} {line}": words
        for command in ("integrate", "ensemble", "simulate", "compare", "escape", "report")
        for line, words in OF_LAYERS.items()
    },
    **{
        f"{command} --schedule {schedule}": words
        for command in ("integrate", "ensemble", "simulate", "compare")
        for schedule, words in OF_SCHEDULES.items()
    },
    "escape --second-layer trained": "--second-layer: 'trained': there is no plateau",
    f"escape {FIXED} --student-weights random": "--student-weights: 'random' differs from start to start",
    f"ensemble {FIXED} --student-weights random --trajectories 10000000000": "--trajectories: ",
    "integrate --overlaps layers.npz": "--overlaps: student_weights in the file has entries that are not",
    "integrate --overlaps late.npz --alpha 0,50": "--alpha: 0 is out of place: times are 40",
    "integrate --overlaps late.npz --alpha 40": "--alpha: 40 is not after 40, the time of the start",
    "integrate --overlaps early.npz": "--overlaps: early.npz has alpha = -1, which is not a time",
    # sector
    "sector --second-layer trained": "--second-layer: 'trained' has no invariant sector",
    "sector --student-weights 2": "--student-weights: ",
    "sector --second-layer fixed --student-weights 1,2": "--student-weights: ",
    "sector --second-layer fixed --teacher-weights 0": "--alpha: is required where",
    "sector --weight-decay -1": "--weight-decay: ",
    "sector --schedule 0:2": "--schedule: ",
    "bias --second-layer fixed --student-weights 1,1,1,2": "--student-weights: differ",
    "bias --second-layer fixed --teacher-weights=-1,-1": "--teacher-weights: do not have the sign",
    "bias --second-layer trained": "--second-layer: 'trained' has no closest solution",
    "sector --teacher general": "--teacher: 'general' has no invariant sector",
    "sector --constraint sphere": "--constraint: 'sphere' has no invariant sector",
    "sector --ideal 1": "--ideal: 1 is too large",
    "sector --eta 0": "--eta: ",
    "sector --q0 -1": "--q0: ",
    "sector --plot run.jpeg": "--plot: ",
    "sector --singular-values 1,2,3": "--singular-values: 3 are given, not one for all or min(p, p*) = 2",
    "sector --singular-values 2": "--singular-values: ",
    "sector --singular-values 0.1 --q0 -1": "--q0: ",
    "sector --p 4 --singular-values 1e-3 --ideal 5": "--ideal: does not go with --singular-values",
    "sector --p 4 --singular-values 1e-3 --seed -1": "--seed: does not go with --singular-values",
    # hessian
    "hessian --n 5 --flow gradient": "--n: 5 is less than 6:",
    "hessian --n 0": "--n: 0 is not an integer from 1",
    "hessian --n 1": "--n: 1 is less than 6",
    "hessian --n 5": "--n: 5 is less than 6: these overlaps need 4 dimensions beyond the 2 of the teacher",
    "hessian --at nowhere": "--at:",
    "hessian --at start --overlaps run.nc": "--at: does not go with --overlaps",
    "hessian --along run.nc --eta 0.3": "--eta: does not go with --along",
    "hessian --along run.nc --p 4": "--p: does not go with --along",
    "hessian --along missing.nc": "--along: missing.nc does not exist",
    "hessian --along .": "--along: . cannot be read: it is not a regular file",
    "hessian --along text.nc": "--along: text.nc cannot be read: it is not a netCDF file",
    "hessian --along other.nc": "--along: other.nc has no attribute p: it is not a result of overlap-ode",
    "hessian --plot a.png --log-x": "--log-x: is about spectra over time: give --along",
    "hessian --out a.csv": "--out: 'a.csv' does not end in .nc",
    "hessian --eta 5 --generated systems": "--eta: 5 has no plateau",
    "hessian --at solution --constraint sphere": "--constraint: 'sphere': solutions differ",
    "hessian --p 64 --pstar 64 --flow gradient": "--p: 64 is too large",
    "hessian --overlaps run.nc --p 5 --flow gradient": "--overlaps: run.nc holds p = 4 and p* = 2, not 5",
    "hessian --overlaps run.nc --seed 0": "--seed: does not go with --overlaps",
    "hessian --overlaps run.nc --q0 1": "--q0: does not go with --overlaps",
    "hessian --overlaps run.nc --eta 0": "--eta: 0.0 is not a finite number greater than 0",
    "hessian --at start --n 1": "--n: 1 is not an integer from 2 to",
    "hessian --flow gradient --eta -1": "--eta: -1.0 is not a finite number greater than 0",
    "hessian --at solution --q0 -1": "--q0: -1.0 is not a finite number greater than 0",
    "hessian --at solution --label-noise -4": "--label-noise: -4.0 is not a finite number of at least 0",
    "hessian --at plateau --seed -1": "--seed: -1 is not an integer from 0",
    "hessian --at start --eta -1": "--eta: -1.0 is not a finite number greater than 0",
    "hessian --at start --label-noise -1": "--label-noise: -1.0 is not a finite number of at least 0",
    "hessian --flow gradient --tolerance -1": "--tolerance: -1.0 is not a finite number of at least 0",
    # bias
    "bias --p 2 --pstar 4": "--p: 2 is less than the rank 4 of the teacher: no solution has zero loss",
    "bias --constraint sphere": "--constraint: 'sphere': the closest solution is known for free norms",
    "bias --eta 0": "--eta: 0.0 is not a finite number greater than 0",
    "bias --n 1": "--n: 1 is not an integer from 2",
    "bias --conditions 0.5": "--conditions: 0.5 is less than 1",
    "bias --n 100,100": "--n: needs ascending dimensions",
    "bias --n 100 --alpha 0.001": "--alpha: 0.001 is less than half a step",
    "bias --conditions 2,2": "--conditions: needs ascending condition numbers",
    "bias --conditions 1e300": "--conditions: 1e+300 is more than 1e+12",
    "bias --scale 0": "--scale: 0.0 is not a finite number greater than 0",
    "bias --scale 10 --conditions 2": "--scale: 10 is too large: no weights have this R0 and a Q0 with",
    "bias --scale 0.2 --conditions 1,1e3": "--scale: 0.2 is too large",
    "bias --seed -1": "--seed: -1 is not an integer from 0",
    "bias --threads 0": "--threads: 0 is not an integer from 1",
    "bias --trajectories 0": "--trajectories: 0 is not an integer from 1",
    "bias --run missing.nc": "--run: missing.nc does not exist",
    "bias --run text.npz": "--run: text.npz cannot be read: it is not a netCDF file",
    "bias --run missing.nc --eta 0.1": "--eta: does not go with --run",
    "bias --run missing.nc --plot a.png": "--plot: does not go with --run",
    "bias --plot bias.txt": "--plot: 'bias.txt' does not end in",
    # escape
    "escape --n 1000,": "--n: '' is not an integer",
    "escape --n 1": "--n: 1 is not an integer from 2 to",
    "escape --n 200,100": "--n: needs ascending dimensions",
    "escape --eta nan": "--eta: 'nan' is not a finite number",
    "escape --eta 0": "--eta: 0.0 is not a finite number greater than 0",
    "escape --eta 0.2,0.1": "--eta: needs ascending learning rates",
    "escape --trajectories 0": "--trajectories: 0 is not an integer from 1 to",
    "escape --trajectories 1000000000": "--trajectories: 1000000000 need 30 GiB, more than the 16 GiB that",
    "escape --fraction 1": "--fraction: 1 is not less than 1",
    "escape --label-noise -1": "--label-noise: -1.0 is not a finite number of at least 0",
    "escape --teacher-correlation 0.2": "--teacher-correlation: needs --teacher general",
    "escape --q0 0": "--q0: 0.0 is not a finite number greater than 0",
    "escape --rtol 0": "--rtol: 0.0 is not a finite number of at least 1e-14",
    "escape --threads 0": "--threads: 0 is not an integer from 1",
    "escape --plot escape.gif": "--plot: 'escape.gif' does not end in .png",
    "escape --out times.txt": "--out: 'times.txt' does not end in .nc",
    "escape --eta 0.4,1.3 --generated systems": "--eta: 1.3 has no plateau, the norms of the students run"
    " away; the largest learning rate is 1.2\n",
    "escape --q0 10 --n 1000 --trajectories 20 --generated systems": "--q0: 10: students of this norm do"
    " not relax to the plateau, whose norm is 0.7639 (status diverged); take a norm closer to it, or a"
    " smaller eta\n",
    # plateau
    "plateau --eta 0": "--eta: 0.0 is not a finite number greater than 0",
    "plateau --eta 0.2,0.1": "--eta: needs ascending learning rates",
    "plateau --second-layer trained --eta-second 0.1": "--second-layer: 'trained': there is no plateau",
    "plateau --second-layer fixed --student-weights 1,2": "--student-weights: '1,2' has 2 numbers, not 4",
    "plateau --plot plateau.txt": "--plot: 'plateau.txt' does not end in",
    # invariants
    "invariants --p 6 --pstar 2": "--p: p6_pstar2 has 33 order parameters, more than 30",
    "invariants --p 0": "--p: 0 is not an integer from 1 to 256",
    "invariants --degree -1": "--degree: -1 is not an integer from 0",
    "invariants --degree 9": "--degree: 9 is not an integer from 0",
    "invariants --p 4 --degree 6": "--degree: 6 means 38760 monomials for p4_pstar1, more than 2000",
    "invariants --monitor run.nc --flow gradient": "--flow: does not go with --monitor",
    "invariants --monitor nowhere.nc": "--monitor: nowhere.nc does not exist",
    "invariants --monitor text.npz": "--monitor: text.npz cannot be read: it is not a netCDF file",
    "invariants --monitor losses.nc": "--monitor: losses.nc: has no Q and R: an ensemble needs --output",
    "invariants --out x.nc": "--out: writes the monitors of a run",
    "invariants --monitor run.nc --out x.txt": "--out: 'x.txt' does not end in .nc",
    # sweep, merge
    "sweep": "--out: is missing",
    "sweep --out runs": "--out: runs holds no sweep yet",
    "sweep --out runs --status": "--out: runs holds no sweep",
    "sweep --out runs --seed 0:999999999999": "--seed: ",
    "sweep --out runs --seed 0:9999 --eta 0.1:1:10000 --label-noise 0:1:10000": "--",
    "sweep --out runs --seed 0:9 --status --dry-run": "--status does not go with --dry-run",
    "sweep --out runs --job nonsense": "--job: ",
    "sweep --out runs --seed x": "--seed: ",
    "sweep --out runs --seed ''": "--seed: ",
    "sweep --out runs --seed 1,1": "--seed: 1 is given twice",
    "sweep --out runs --eta nan": "--eta: ",
    "sweep --out runs --eta 0.1:0.2": "--eta: ",
    "sweep --out runs --p 1,257": "--p: ",
    "sweep --out runs --constraint ball": "--constraint: ",
    "sweep --out runs --alpha 2,1": "--alpha: ",
    "sweep --out runs --schedule 'constant;0:2'": "--schedule: '0:2' does not begin with time 0",
    "sweep --out runs --second-layer fixed --student-weights '1,1,1,1;1,2'": "--student-weights: '1,2'",
    "sweep --out runs --teacher general --T missing.csv": "--T: missing.csv does not exist",
    "sweep --out runs --batch 1,0": "--batch: 0 is not a whole number of at least 1",
    "sweep --out runs --trajectories 10": "--trajectories: is not a parameter of --job ode",
    "sweep --out runs --seed 0 --workers 0": "--workers: ",
    "sweep --out runs --seed 0 --threads x": "--threads: ",
    "sweep --out runs --seed 0 --engine mpi": "--engine: ",
    "fluctuations --n 0": "--n: 0 is not",
    "fluctuations --method scipy:LSODA": "--method: 'scipy:LSODA' is not one of",
    "fluctuations --pstar 4 --activation he3": "--activation: p = 4, p* = 4 with he3 needs 1.9e+07 points",
    "fluctuations --covariance random --ideal 0.1": "--ideal: does not go with --covariance random",
    "fluctuations --covariance random --overlaps run.nc": "--covariance: 'random weights' has the mean",
    "fluctuations --covariance missing.npz": "--covariance: missing.npz does not exist",
    "fluctuations --covariance good.npz": "--covariance: good.npz has no array covariance",
    "fluctuations --covariance nan.csv": "--covariance: has the shape (2, 2), not (18, 18)",
    "sweep --out runs --seed 0 --engine dask": "--engine: dask needs --scheduler",
    "sweep --out runs --seed 0 --engine threads --scheduler file": "--scheduler: ",
    "sweep --out runs --seed 0 --task-index 1": "--task-count: is missing",
    "sweep --out runs --seed 0 --task-index 2 --task-count 2": "--task-index: ",
    "sweep --out runs --p 1,2 --zip p,seed": "--zip: ",
    "sweep --out no/folder/runs --seed 0": "--out: ",
    "sweep --out /dev/null --seed 0": "--out: ",
    "sweep --out runs --seed 0 --generated /dev/null": "--generated: /dev/null/p4_pstar2 cannot be written",
    "sweep missing.toml --out runs": "FILE: missing.toml does not exist",
    "sweep . --out runs": "FILE: . cannot be read",
    "sweep --out runs extra.toml more": "Got unexpected extra argument",
    "plot": "FILE: is missing",
    "merge": "FOLDER: is missing",
    "merge runs": "--out: is missing",
    "merge runs --out runs.txt": "--out: 'runs.txt' does not end in .nc",
    "merge missing --out runs.nc": "FOLDER: ",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the lines name; a run of gradient flow with its plateau and its escape."""
    folder = tmp_path_factory.mktemp("refusals")
    overlap_odes(Model(4, 2)).write(folder / "systems")
    line = f"integrate --flow gradient --alpha 0,15,60 --generated {folder}/systems --quiet --json"
    assert cli.run([*shlex.split(line), "--out", str(folder / "run.nc")]) == 0
    run = xarray.load_dataset(folder / "run.nc")
    xarray.concat([run] * 3, "trajectory").drop_vars(["Q", "R"]).to_netcdf(folder / "losses.nc")
    xarray.Dataset({"Q": 1.0}).to_netcdf(folder / "other.nc")
    (folder / "nan.csv").write_text("1,nan\nnan,1\n")
    for name in ("text.nc", "text.npz"):
        (folder / name).write_text("Q = 1\n")
    start = {"Q": np.eye(4), "R": np.zeros((4, 2))}
    for name, changed in {
        "good": {},
        "with_teacher": {"T": np.eye(2)},
        "asymmetric": {"Q": np.eye(4) + 0.1 * np.eye(4, k=1)},
        "q": {"Q": -np.eye(4)},
        "r": {"R": np.full((4, 2), 0.9)},
        "widths": {"Q": np.eye(3)},
        "infinite": {"R": np.full((4, 2), np.nan)},
        "words": {"R": np.array([["a"] * 2] * 4)},
        "teacher": {"T": 2 * np.eye(2)},
        "layers": {"student_weights": np.array([1.0, 1.0, 1.0, -1.0])},
        "late": {"alpha": 40.0},
        "early": {"alpha": -1.0},
        "objects": {"Q": np.array([print], dtype=object)},
    }.items():
        np.savez(folder / f"{name}.npz", **start | changed)
    return folder


@pytest.fixture
def refused(folder, monkeypatch, capsys):
    """A function that runs a line there and gives its error, after "cli: "."""
    monkeypatch.chdir(folder)

    def refused(line: str) -> str:
        before = sorted(folder.rglob("*"))
        code = cli.run(shlex.split(line))
        captured = capsys.readouterr()
        assert (code, captured.out) == (2, "")
        assert captured.err.startswith("cli: ")
        assert captured.err.count("\n") == 1
        assert sorted(folder.rglob("*")) == before
        return captured.err.removeprefix("cli: ")

    return refused


@pytest.mark.parametrize(("line", "words"), [*SINGLE, *LINES.items()], ids=lambda text: ascii(text)[:60])
def test_one_line_says_what_is_wrong_and_nothing_is_written(refused, line, words):
    assert refused(line).startswith(words)


def test_every_command_has_a_line():
    tested = {line.split()[0] for line, _ in [*SINGLE, *LINES.items()]}
    # These take nothing but names of folders, for which there are tests of outputs.
    assert set(cli.COMMANDS) - tested == {"doctor", "reproduce"}


def test_errors_and_hints_name_the_program_as_it_was_started(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/overlap-ode"])
    for line, words in {
        "integrat": "'integrat' is not a command; perhaps you mean integrate; see `overlap-ode --help`",
        "integrate extra": "Got unexpected extra argument (extra); see `overlap-ode integrate --help`",
        "integrate --eta 0": "--eta: 0.0 is not a finite number greater than 0",
    }.items():
        assert cli.run(line.split()) == 2
        assert capsys.readouterr().err == f"overlap-ode: {words}\n"
    assert cli.run(["list", "--generated", "nowhere"]) == 0
    assert "`overlap-ode derive --p 4 --pstar 2` makes one" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["ensemble", "ensemble --output final", "report --trajectories 1000 --quiet"]
)
def test_starts_drawn_later_name_the_option_too(refused, monkeypatch, command):
    """In a very large ensemble only the starts at the front are drawn before the work."""
    monkeypatch.setattr(chosen_start, "_CHECKED", 1)
    assert refused(f"{command} --ideal 0.33 --alpha 1 --generated systems").startswith(
        "--ideal: 0.33 is too"
    )


def test_a_report_without_ensemble_draws_the_first_start_only(call, generated):
    line = f"report --ideal 0.33 --alpha 1 --trajectories 0 --quiet --generated {generated}"
    assert call(line) == (0, "report.html\n", "")


def test_a_pipe_is_refused_without_waiting_for_its_writer(refused, folder):
    os.mkfifo(folder / "pipe.npz")
    words = "--overlaps: pipe.npz cannot be read: it is not a regular file"
    assert refused("integrate --overlaps pipe.npz").startswith(words)
