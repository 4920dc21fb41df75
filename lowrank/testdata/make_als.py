"""Makes als.json: PGSVD's alternating least squares and SVD-LLM's whitening by
NumPy, formula by formula as the papers have them.

    pip install numpy && python make_als.py [storyteller-22m]

The Gram matrices of the storyteller cases are those of embedding rows, so that
a test can make them again from the checkpoint; only figures are stored there.
"""
import json
import os
import struct
import sys

import numpy as np

here = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(11)


def pinv(a):
    return np.linalg.pinv(a, rcond=1e-12, hermitian=True)


def norm(w, m):
    return float(np.sqrt(max(0.0, np.trace(w @ m @ w.T))))


def als(w, m, r, turns):
    u, s, vt = np.linalg.svd(w, full_matrices=False)
    a = u[:, :r] * np.sqrt(s[:r])
    b = np.sqrt(s[:r])[:, None] * vt[:r]
    products = [a @ b]
    for _ in range(turns):
        a = w @ m @ b.T @ pinv(b @ m @ b.T)
        b = pinv(a.T @ a) @ a.T @ w
        products.append(a @ b)
    return products


def whitened(w, m, r):
    """SVD-LLM: truncate the SVD of W T, with T the Cholesky factor of M."""
    t = np.linalg.cholesky(m)
    u, s, vt = np.linalg.svd(w @ t, full_matrices=False)
    return (u[:, :r] * s[:r]) @ np.linalg.solve(t.T, vt[:r].T).T


def case(name, w, x, r, turns, store=True):
    m = x @ x.T
    whole = norm(w, m)
    steps = als(w, m, r, turns)
    out = dict(name=name, rows=w.shape[0], cols=w.shape[1], rank=r,
               errors=[norm(w - p, m) / whole for p in steps])
    regular = np.linalg.cond(m) < 1e9
    if regular:
        out["optimum"] = norm(w - whitened(w, m, r), m) / whole
    if store:
        out.update(w=w.ravel().tolist(), gram=m.ravel().tolist(), last=steps[-1].ravel().tolist())
        if regular:
            out["white"] = whitened(w, m, r).ravel().tolist()
    return out


def inputs(n, samples):
    """Inputs that go together and differ in size, as activations do."""
    mix = rng.standard_normal((n, n)) * np.exp(rng.standard_normal(n))[:, None]
    return mix @ rng.standard_normal((n, samples))


cases = [
    case("wide", rng.standard_normal((7, 10)), inputs(10, 40), 3, 4),
    case("tall", rng.standard_normal((11, 6)), inputs(6, 40), 2, 4),
    case("square", rng.standard_normal((8, 8)), inputs(8, 40), 4, 4),
    case("rank one", rng.standard_normal((6, 9)), inputs(9, 40), 1, 4),
    case("full rank", rng.standard_normal((5, 7)), inputs(7, 40), 5, 2),
    case("few samples", rng.standard_normal((9, 8)), inputs(8, 5), 3, 4),
    case("fewer samples than ranks", rng.standard_normal((9, 8)), inputs(8, 2), 4, 3),
    case("low rank", rng.standard_normal((9, 3)) @ rng.standard_normal((3, 7)), inputs(7, 30), 2, 4),
]


def tensor(folder, name):
    index = json.load(open(os.path.join(folder, "model.safetensors.index.json")))
    with open(os.path.join(folder, index["weight_map"][name]), "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        meta = json.loads(f.read(n))[name]
        a, b = meta["data_offsets"]
        f.seek(8 + n + a)
        raw = np.frombuffer(f.read(b - a), dtype="<u2").astype("<u4") << 16
    return raw.view("<f4").astype(np.float64).reshape(meta["shape"])


def storyteller(folder):
    out = []
    embedding = tensor(folder, "model.embed_tokens.weight")
    for name, samples, ranks in [
        ("model.layers.5.self_attn.o_proj.weight", 1024, (40, 150)),
        ("model.layers.0.self_attn.k_proj.weight", 200, (30,)),
        ("model.layers.11.mlp.gate_proj.weight", 1024, (200,)),
    ]:
        w, x = tensor(folder, name), embedding[:samples].T
        s = np.linalg.svd(w, compute_uv=False)
        errors = np.sqrt(np.append(np.cumsum((s * s)[::-1])[::-1], 0) / np.sum(s * s))
        entry = dict(name=name, samples=samples, values=s[::16].tolist(), ranks=[], als=[])
        for eps in (0.1, 0.2, 0.3456, 0.4052, 0.4665, 0.5302, 0.7, 0.9):
            entry["ranks"].append([eps, int(np.argmax(errors <= eps))])
        for r in ranks:
            c = case(name, w, x, r, 10, store=False)
            entry["als"].append(dict(rank=r, errors=c["errors"], optimum=c.get("optimum", 0)))
        out.append(entry)
    return out


folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "../../../shared/models/storyteller-22m")
with open(os.path.join(here, "als.json"), "w") as f:
    f.write('{"small":[\n' + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n],\n")
    f.write('"storyteller":[\n' + ",\n".join(json.dumps(c, separators=(",", ":")) for c in storyteller(folder)) + "\n]}\n")
