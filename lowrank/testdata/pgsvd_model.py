# PGSVD of a whole LLaMA model by the formulas of the paper, in PyTorch, with a forward pass of its own: what `lamina lowrank` is compared with in
# docs/EXPERIMENTS.md.
#   python pgsvd_model.py CHECKPOINT IDS.json cpu|cuda JOB...
# IDS.json maps names to lists of token ids; "held" is the text to predict, its first 65,536 tokens in windows of 512. A JOB is
# NAME:TOKENS:WINDOW:SHARE,...[:bos] and calibrates on the first TOKENS of NAME, in windows that begin with the begin-of-text token if asked.
import json, math, sys, time, torch
from safetensors.torch import load_file
torch.backends.cuda.matmul.allow_tf32 = False
D, dev, jobs = sys.argv[1], sys.argv[3], sys.argv[4:]
c = json.load(open(D+'/config.json'))
files = json.load(open(D+'/model.safetensors.index.json'))['weight_map']
W = {}
for f in sorted(set(files.values())):
    W.update(load_file(D+'/'+f))
W = {k: v.float().to(dev) for k, v in W.items()}
L, NH, NK, HD, EPS = c['num_hidden_layers'], c['num_attention_heads'], c['num_key_value_heads'], c['head_dim'], c['rms_norm_eps']
inv = 1/(c['rope_theta']**(torch.arange(0, HD, 2, device=dev).float()/HD))

def norm(x, w): return x*torch.rsqrt((x*x).mean(-1, keepdim=True)+EPS)*w

def rope(x):
    a = torch.arange(x.shape[2], device=dev).float()[:, None]*inv
    a = torch.cat([a, a], -1)
    h = torch.cat([-x[..., HD//2:], x[..., :HD//2]], -1)
    return x*a.cos()+h*a.sin()

def forward(P, ids, see=None):
    x = W['model.embed_tokens.weight'][ids]
    B, T = ids.shape
    for i in range(L):
        p = 'model.layers.%d.' % i
        h = norm(x, W[p+'input_layernorm.weight'])
        if see: see(i, 'qkv', h)
        q = (h@P[p+'self_attn.q_proj.weight'].T).view(B, T, NH, HD).transpose(1, 2)
        k = (h@P[p+'self_attn.k_proj.weight'].T).view(B, T, NK, HD).transpose(1, 2)
        v = (h@P[p+'self_attn.v_proj.weight'].T).view(B, T, NK, HD).transpose(1, 2)
        q, k = rope(q), rope(k)
        k, v = k.repeat_interleave(NH//NK, 1), v.repeat_interleave(NH//NK, 1)
        s = q@k.transpose(-1, -2)/math.sqrt(HD)
        s = s.masked_fill(torch.ones(T, T, dtype=torch.bool, device=dev).triu(1), -math.inf).softmax(-1)
        o = (s@v).transpose(1, 2).reshape(B, T, NH*HD)
        if see: see(i, 'o', o)
        x = x+o@P[p+'self_attn.o_proj.weight'].T
        h = norm(x, W[p+'post_attention_layernorm.weight'])
        if see: see(i, 'gu', h)
        g = h@P[p+'mlp.gate_proj.weight'].T
        h = g*g.sigmoid()*(h@P[p+'mlp.up_proj.weight'].T)
        if see: see(i, 'down', h)
        x = x+h@P[p+'mlp.down_proj.weight'].T
    return norm(x, W['model.norm.weight'])@W['model.embed_tokens.weight'].T

names, inp = [], {}
for i in range(L):
    for n, k in (('self_attn.q_proj', 'qkv'), ('self_attn.k_proj', 'qkv'), ('self_attn.v_proj', 'qkv'), ('self_attn.o_proj', 'o'),
                 ('mlp.gate_proj', 'gu'), ('mlp.up_proj', 'gu'), ('mlp.down_proj', 'down')):
        names.append('model.layers.%d.%s.weight' % (i, n))
        inp[names[-1]] = (i, k)
SVD = {n: torch.linalg.svd(W[n].double(), full_matrices=False) for n in names}
tails = {}
for n in names:
    s2 = (SVD[n][1]**2).cpu()
    t = s2.flip(0).cumsum(0).flip(0)
    tails[n] = torch.cat([(t/t[0]).sqrt(), torch.zeros(1)])

def ranks(eps):
    r = {}
    for n in names:
        k, (rows, cols) = max(1, int((tails[n] > eps).sum())), W[n].shape
        r[n] = k if k*(rows+cols) < rows*cols else 0
    return r

def params(r): return sum(W[n].numel() if r[n] == 0 else r[n]*sum(W[n].shape) for n in names)

full = params({n: 0 for n in names})

def tolerance(rho):
    lo, hi = 0., 1.
    for _ in range(50):
        m = (lo+hi)/2
        if params(ranks(m)) <= rho*full: hi = m
        else: lo = m
    return hi

def uniform(rho):
    r = {}
    for n in names:
        rows, cols = W[n].shape
        k = max(1, round(rho*rows*cols/(rows+cols)))
        r[n] = k if k*(rows+cols) < rows*cols else 0
    return r

@torch.no_grad()
def grams(ids, win, bos):
    M = {}
    def see(i, k, h):
        h = h.reshape(-1, h.shape[-1]).double()
        M[i, k] = M.get((i, k), 0)+h.T@h
    n = len(ids)//win*win
    w = ids[:n].view(-1, win)
    if bos:
        w = torch.cat([torch.full((len(w), 1), c['bos_token_id'], device=dev), w[:, :-1]], 1)
    for b in w.split(32): forward(W, b, see)
    if n < len(ids) and not bos: forward(W, ids[n:][None], see)
    return M

def als(n, r, M, turns=10):
    U, S, V = SVD[n]
    w = W[n].double()
    A, B = U[:, :r]*S[:r].sqrt(), S[:r].sqrt()[:, None]*V[:r]
    WM = w@M
    for _ in range(turns):
        A = torch.linalg.solve(B@M@B.T, (WM@B.T).T).T
        B = torch.linalg.solve(A.T@A, A.T@w)
    return A, B

@torch.no_grad()
def model(r, M):
    P, e = dict(W), []
    for n in names:
        k = r[n]
        if k == 0: continue
        if M is None:
            U, S, V = SVD[n]
            P[n] = ((U[:, :k]*S[:k])@V[:k]).float()
            continue
        m, w = M[inp[n]], W[n].double()
        A, B = als(n, k, m)
        P[n] = A.float()@B.float()
        d = w-P[n].double()
        e.append(float(((d@m)*d).sum()/((w@m)*w).sum()))
    return P, (sum(e)/len(e))**.5 if e else 0

@torch.no_grad()
def score(P, ids, win=512):
    nll = kl = 0.
    top = count = 0
    for b in ids[:len(ids)//win*win].view(-1, win).split(16):
        l = forward(W, b)[:, :-1].double().log_softmax(-1)
        q = forward(P, b)[:, :-1].double().log_softmax(-1)
        nll -= float(q.gather(-1, b[:, 1:, None]).sum())
        kl += float((l.exp()*(l-q)).sum())
        count += b[:, 1:].numel()
        top += int((l.argmax(-1) == q.argmax(-1)).sum())
    return math.exp(nll/count), kl/count, top/count*100

ids = {k: torch.tensor(v, device=dev) for k, v in json.load(open(sys.argv[2])).items()}
held, start = ids['held'][:65536], time.time()

def show(what, r, M):
    P, e = model(r, M)
    print(what, 'error %.4f' % e, 'ppl %.2f kl %.4f top1 %.1f' % score(P, held), '%.0fs' % (time.time()-start), flush=True)

print('source %.4f' % score(W, held)[0], flush=True)
for rho in (.9, .8, .7, .6):
    e = tolerance(rho)
    show('%g svd-uniform' % rho, uniform(rho), None)
    show('%g svd at %.4f' % (rho, e), ranks(e), None)
for j in jobs:
    f = j.split(':')
    M = grams(ids[f[0]][:int(f[1])], int(f[2]), len(f) > 4)
    for rho in map(float, f[3].split(',')):
        show('%s %g pgsvd' % (j, rho), ranks(tolerance(rho)), M)
        show('%s %g als-uniform' % (j, rho), uniform(rho), M)
