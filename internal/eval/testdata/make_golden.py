"""Writes compare.json: logits of two models and, computed by numpy in float64,
KL(reference || model), negative log-likelihoods and the likeliest tokens."""

import json

import numpy as np

rng = np.random.default_rng(7)


def log_softmax(x):
    x = x - x.max()
    return x - np.log(np.exp(x).sum())


cases = []
for n, spread, noise in [(2, 1, 1), (5, 3, 0.1), (40, 6, 0.01), (300, 4, 1), (257, 10, 3), (64, 0, 0), (33, 200, 50)]:
    ref = (rng.standard_normal(n) * spread).astype(np.float32)
    got = (ref + rng.standard_normal(n) * noise + rng.standard_normal()).astype(np.float32)
    ref, got = np.round(ref, 3).astype(np.float32), np.round(got, 3).astype(np.float32)
    token = int(rng.integers(n))
    p, q = log_softmax(ref.astype(np.float64)), log_softmax(got.astype(np.float64))
    cases.append(
        {
            "reference": [float(f"{v:.3f}") for v in ref],
            "model": [float(f"{v:.3f}") for v in got],
            "token": token,
            "kl": float((np.exp(p) * (p - q)).sum()),
            "nll": float(-q[token]),
            "reference_nll": float(-p[token]),
            "same": bool(p.argmax() == q.argmax()),
        }
    )
with open("compare.json", "w") as f:
    json.dump(cases, f)
    f.write("\n")
