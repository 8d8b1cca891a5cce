"""The kinds of learning-rate schedules, by the numbers that compiled code knows them by."""

# Those from 1 on are smooth; piecewise constant schedules are of the first kind.
CONSTANT, EXPONENTIAL, INVERSE, INVERSE_SQRT = range(4)
SMOOTH = {
    "exponential": EXPONENTIAL,
    "inverse": INVERSE,
    "inverse-sqrt": INVERSE_SQRT,
}
