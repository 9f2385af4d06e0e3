"""Which operators LiteRT computes in INT8. No heavy import: a plan reads it too."""

from __future__ import annotations

INT8 = frozenset(
    {
        "Add", "AveragePool", "Concat", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "LeakyRelu", "MaxPool",
        "Mul", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Sub", "Transpose",
    }
)  # fmt: skip
"""Operators that are computed in 8 bits, or only move numbers of 8 bits."""
