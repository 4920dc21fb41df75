"""Makes tiny.json and tiny.f32: logits of tiny random LLaMAs, computed by
Hugging Face transformers in float64, for the tests of model/llama.

    pip install torch transformers numpy && python make_golden.py

Weights are not stored. Element i of a tensor comes from output i of SplitMix64
(Steele, Lea and Flood, 2014) seeded with FNV-1a-64 of "variant/tensor name":
u is its top 24 bits as a fraction, mapped to [-1, 1). A vector holds 1 + u/2, a
matrix of c columns 1.5*sqrt(3/c)*u, all in float32.

Queries, keys, values and weights of the softmax are rounded to 16 bits as Lamina
rounds them, so that what is left to differ is float32 against float64.
"""

import json
import math

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

TOKENS, EVERY = 72, 6  # rows EVERY-1, 2*EVERY-1, ... are kept

BASE = dict(
    architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", hidden_size=64, intermediate_size=144,
    num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=256, max_position_embeddings=128,
    rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
VARIANTS = {
    "tied-gqa": {},
    "untied-mha": dict(tie_word_embeddings=False, num_key_value_heads=4, rms_norm_eps=1e-6),
    "llama3-rope": dict(rope_theta=500000.0, rope_scaling=LLAMA3),
    "linear-rope": dict(rope_scaling=dict(type="linear", factor=4.0)),
    "wide-heads-mqa": dict(head_dim=24, num_key_value_heads=1, num_hidden_layers=3, intermediate_size=100),
}


def generate(variant, name, shape):
    seed = 0xCBF29CE484222325
    for b in f"{variant}/{name}".encode():
        seed = (seed ^ b) * 0x100000001B3 % 2**64
    n = math.prod(shape)
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    u = (z >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)
    if len(shape) == 1:
        return (np.float32(1) + u * np.float32(0.5)).reshape(shape)
    return (u * np.float32(1.5 * math.sqrt(3 / shape[1]))).reshape(shape)


def rounded(x, bound_norm):
    """x as whole numbers times a scale per vector: at most 32767, of a norm of at most 46000 if asked for."""
    scale = x.abs().amax(-1, keepdim=True) / 32767
    if bound_norm:
        scale = torch.maximum(scale, x.norm(dim=-1, keepdim=True) / 46000)
    return torch.round(x / scale), scale


def attention(module, query, key, value, mask, scaling, **kwargs):
    """All keys are one part: 72 tokens are fewer than the 256 of a part."""
    group = query.shape[1] // key.shape[1]
    (q, q_scale), (k, k_scale), (v, v_scale) = rounded(query * scaling, True), rounded(key, True), rounded(value, False)
    k, k_scale, v, v_scale = (x.repeat_interleave(group, 1) for x in (k, k_scale, v, v_scale))
    scores = q @ k.transpose(-1, -2) * q_scale * k_scale.transpose(-1, -2) + mask
    e = torch.exp(scores - scores.amax(-1, keepdim=True))
    w = e * v_scale.transpose(-1, -2)
    unit = w.sum(-1, keepdim=True) / 32767
    y = torch.round(w / unit) @ v * unit / e.sum(-1, keepdim=True)
    return y.transpose(1, 2).contiguous(), None


modeling_llama.ALL_ATTENTION_FUNCTIONS["lamina"] = attention

golden, rows = [], []
for name, changes in VARIANTS.items():
    config = {**BASE, **changes}
    hf = LlamaConfig(**config)
    model = LlamaForCausalLM(hf).eval()
    state = {k: torch.from_numpy(generate(name, k, tuple(v.shape))) for k, v in model.state_dict().items()
             if not (config["tie_word_embeddings"] and k == "lm_head.weight")}
    left = model.load_state_dict(state, strict=False)
    assert not left.unexpected_keys and left.missing_keys in ([], ["lm_head.weight"]), left
    model.tie_weights()
    rates = model.model.rotary_emb.inv_freq.float().tolist()
    model = model.double()
    model.set_attn_implementation("lamina")
    ids = [(i * i * 7 + i * 13 + 5) % 256 for i in range(TOKENS)]
    mask = torch.full((TOKENS, TOKENS), float("-inf"), dtype=torch.float64).triu(1)[None, None]
    with torch.no_grad():
        logits = model(torch.tensor([ids]), attention_mask=mask).logits[0].numpy()
    print(name, hf.rope_parameters, f"logit std {logits.std():.2f}, largest {abs(logits).max():.2f}")
    rows.append(logits[EVERY - 1::EVERY].astype("<f4"))
    golden.append(dict(name=name, config=config, ids=ids, inverse_frequencies=rates))

with open("tiny.json", "w") as f:
    json.dump(dict(every=EVERY, variants=golden), f, indent=1)
    f.write("\n")
np.stack(rows).tofile("tiny.f32")
