"""The sweep that most tests run: six tasks of some milliseconds."""

SMALL = {"p": 2, "pstar": 1, "alpha": [0.0, 1.0, 2.0], "eta": "0.1,0.2", "seed": "0:2"}
# The same for the command line.
WORDS = ["--p", "2", "--pstar", "1", "--alpha", "0,1,2", "--eta", "0.1,0.2", "--seed", "0:2"]
