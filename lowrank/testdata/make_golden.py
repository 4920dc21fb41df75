"""Makes golden.json: singular values, ranks and truncated products by NumPy.

    pip install numpy && python make_golden.py

rank is found from ||W - W_r||_F itself, with W_r multiplied out, and not from
the tail of the singular values. Tolerances lie half-way between the errors of
two neighbouring ranks, so that no rounding decides.
"""
import json
import os

import numpy as np

rng = np.random.default_rng(7)


def spectrum(rows, cols, values):
    """A matrix with the given singular values and random singular vectors."""
    k = len(values)
    u, _ = np.linalg.qr(rng.standard_normal((rows, k)))
    v, _ = np.linalg.qr(rng.standard_normal((cols, k)))
    return u * values @ v.T


matrices = {
    "noise": rng.standard_normal((12, 7)),
    "wide": rng.standard_normal((5, 11)) * 0.02,
    "decaying": spectrum(9, 10, 0.6 ** np.arange(9)),
    "deficient": spectrum(10, 6, np.array([3.0, 2.0, 0.5])),
    "repeated": spectrum(6, 6, np.array([2.0, 2.0, 2.0, 1.0, 1.0, 1.0])),
    "large": spectrum(6, 5, 1e200 * np.array([8.0, 4.0, 2.0, 1.0, 0.5])),
    "small": spectrum(5, 6, 1e-200 * np.array([8.0, 4.0, 2.0, 1.0, 0.5])),
    "row": rng.standard_normal((1, 6)),
    "column": rng.standard_normal((6, 1)),
}

cases = []
for name, w in matrices.items():
    u, s, vt = np.linalg.svd(w, full_matrices=False)
    scale = np.abs(w).max()
    norm = np.linalg.norm(w / scale)
    parts = [u[:, :r] * s[:r] @ vt[:r] for r in range(len(s) + 1)]
    errors = [float(np.linalg.norm((w - p) / scale) / norm) for p in parts]
    ranks = []
    for r in range(1, len(s)):
        if errors[r] < errors[r - 1] * (1 - 1e-9) and errors[r - 1] > 1e-12:
            ranks.append([(errors[r] + errors[r - 1]) / 2, r])
    keep = sorted({1, len(s) // 2, len(s)} - {0})
    if name == "repeated":
        keep = [3, 6]  # other cuts through equal values are not unique
    cases.append(dict(
        name=name, rows=w.shape[0], cols=w.shape[1], w=w.ravel().tolist(), values=s.tolist(), errors=errors,
        ranks=ranks, products=[dict(rank=r, w=parts[r].ravel().tolist()) for r in keep]))

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
