"""Toom-Cook (Winograd) convolution: fewer multiplications for a convolution of given width."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

_POINTS = tuple(map(Fraction, ("0", "4/3", "-4/3", "1/2", "-1/2", "5/2", "-5/2", "3/4", "-3/4")))
"""Where polynomials are evaluated, besides infinity, in this order: of some hundred symmetric sets of fractions near 1
one of those with the smallest rounding errors in FP32 for 10 points, where they are largest."""

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ToomCook:
    """Matrices with which `outputs` samples y of a convolution of width r cost outputs + r - 1 multiplications.

    For one channel y = output @ ((weight @ w) * (input @ x)), where y[t] = sum of w[k] x[t + k] and x holds
    outputs + r - 1 samples. (Lavin and Gray, arXiv 1509.09308, call them A^T, G and B^T.)
    """

    outputs: int
    input: Matrix
    """(points, points)"""
    weight: Matrix
    """(points, r)"""
    output: Matrix
    """(outputs, points)"""


def toom_cook(outputs: int, width: int) -> ToomCook:
    """Derive the matrices in exact arithmetic.

    The product of two polynomials is known from its values at outputs + width - 2 points and its leading coefficient
    ("infinity"); the matrices are the transpose of that. Factors are moved between them, as powers of two, so that each
    row of `input` and each column of `output` has about the size of 1.

    Args:
        outputs: samples computed together, at least 1.
        width: width of the convolution, at least 2; outputs + width - 1 can be 2 to 10.

    """
    count = outputs + width - 1
    values = _powers(count, count)
    inverse = _inverse(values)
    rows = [[inverse[j][i] for j in range(count)] for i in range(count)]
    weight, output = _powers(count, width), _powers(count, outputs)
    for i in range(count):
        row, column = _size(rows[i]), _size(output[i])
        rows[i] = [value / row for value in rows[i]]
        output[i] = [value / column for value in output[i]]
        weight[i] = [value * row * column for value in weight[i]]
    return ToomCook(outputs, _matrix(rows), _matrix(weight), _matrix(output).T)


def _powers(points: int, degree: int) -> list[list[Fraction]]:
    """Return the powers 0 to degree - 1 of each point; of infinity only the highest counts."""
    assert 2 <= points <= len(_POINTS) + 1
    finite = [[point**j for j in range(degree)] for point in _POINTS[: points - 1]]
    return [*finite, [Fraction(int(j == degree - 1)) for j in range(degree)]]


def _inverse(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    """Invert a regular matrix by Gauss-Jordan elimination."""
    size = len(matrix)
    rows = [[*row, *(Fraction(int(i == j)) for j in range(size))] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(i for i in range(column, size) if rows[i][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for i in range(size):
            if i != column:
                factor = rows[i][column]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[column], strict=True)]
    return [row[size:] for row in rows]


def _size(values: list[Fraction]) -> Fraction:
    """Return the power of two next to the largest value."""
    return Fraction(2) ** round(math.log2(max(map(abs, values))))


def _matrix(rows: list[list[Fraction]]) -> Matrix:
    return np.array([[float(value) for value in row] for row in rows])
