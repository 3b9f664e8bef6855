"""PyTorch CPU peer for the small policy: generation, RL update, reference log-probs, warm start.

A Llama-style decoder written directly in PyTorch (no transformers), float32, tied head. Sizes default
to the embedded task's model (d 128, 2 layers, 4 heads of 32, SwiGLU 320, vocabulary 18: 379,776
parameters). Every mode times several implementations of the SAME work ("variants"), checks that they
agree first, and names the fastest.

    python policy_peer.py --mode update     --rows 256 --threads 2 --runs 10 --json update.json
    python policy_peer.py --mode generate   --rows 256 --new-tokens 64
    python policy_peer.py --mode logprobs   --rows 256
    python policy_peer.py --mode warmstart  --rows 64
    python policy_peer.py --mode update --lengths lengths.json     # {"prompts":[..],"completions":[..]}
    python policy_peer.py --mode update --variants eager           # only variants whose name has "eager"

Needs torch (made for 2.13); safetensors only for --weights / --save-weights. Variants that need a C++
compiler (torch.compile) are reported and skipped when it is missing.

The script restarts itself once with MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_=100000000000, so that
glibc reuses memory instead of returning it to the kernel (a large gain for eager PyTorch on a CPU;
--no-malloc-env leaves the environment alone).

What is timed
  generate   prefill of the prompts + --new-tokens decode steps per row (end of sequence ignored), sampling
             at temperature 1, log-prob of each sampled token. tokens/s = rows * new tokens / time.
  update     ONE optimizer update: forward, log-probs of the completion tokens (head applied only there),
             PPO-clipped loss (epsilon 0.2, token-mean over the batch), entropy as a metric, backward,
             global-norm clip 1, AdamW(3e-4, betas .9/.99, no decay). Sorting by length and building the
             index tensors are NOT part of the time (in the peer's favour).
  logprobs   forward only: log-probs of the completion tokens (what the frozen reference does).
  warmstart  one supervised step: cross-entropy on completion tokens, backward, clip 1,
             AdamW(4e-3, betas .9/.95, decay .05).
"response tokens" are completion tokens; "total tokens" are prompt + completion tokens (no padding).

The deterministic batch (so that another program can make the identical one). One generator, a 32-bit
LCG with state x, seeded with --seed (default 1):
    next():   x = (x * 1664525 + 1013904223) mod 2^32; return x >> 8              (24 bits)
    int(a,b): a + floor(next() * (b - a + 1) / 2^24)                              (a..b inclusive)
    unit():   next() / 2^24                                                       ([0,1))
    in JS:    x = (Math.imul(x, 1664525) + 1013904223) >>> 0; return x >>> 8
Draws, in this order:
  1. row 0..rows-1: prompt length int(A,B), then completion length int(A,B)   (no draws with --lengths)
  2. row 0..rows-1: prompt tokens int(0,V-1) each, then completion tokens int(0,V-1) each
  3. row 0..rows-1, each completion token: advantage = 2*unit()-1, then oldLogp = -ln(V) + 0.2*(unit()-0.5)
Generation uses only the prompts of that batch.

Weights are random (recipe's init) from torch's generator; --save-weights FILE writes them under Hugging
Face Llama names and --weights FILE reads such a file, so that two programs can compare losses.
"""
import argparse
import json
import math
import os
import sys

MALLOC_ENV = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}


def parse_range(s):
    a, _, b = s.partition(":")
    return int(a), int(b or a)


def parse_args():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mode", choices=["generate", "update", "logprobs", "warmstart"], default="update")
    p.add_argument("--config", help="JSON file with any of the size flags (HF names are understood)")
    p.add_argument("--hidden", type=int, default=None)
    p.add_argument("--layers", type=int, default=None)
    p.add_argument("--heads", type=int, default=None)
    p.add_argument("--kv-heads", type=int, default=None)
    p.add_argument("--head-dim", type=int, default=None)
    p.add_argument("--intermediate", type=int, default=None)
    p.add_argument("--vocab", type=int, default=None)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rows", type=int, default=None, help="default 256 (warmstart 64)")
    p.add_argument("--prompt-len", type=parse_range, default=(5, 20))
    p.add_argument("--completion-len", type=parse_range, default=(4, 45))
    p.add_argument("--lengths", help='JSON {"prompts":[...],"completions":[...]}')
    p.add_argument("--new-tokens", type=int, default=64)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--runs", type=int, default=10)
    p.add_argument("--warmup", type=int, default=3)
    p.add_argument("--variants", default="", help="substrings separated by ; (names contain commas); only matching variants run")
    p.add_argument("--no-compile", action="store_true")
    p.add_argument("--weights")
    p.add_argument("--save-weights")
    p.add_argument("--json")
    p.add_argument("--max-others", type=float, default=0.1, help="repeat a block of runs when other processes used more cores")
    p.add_argument("--retries", type=int, default=3)
    p.add_argument("--retry-wait", type=float, default=5., help="seconds before a repeat")
    p.add_argument("--no-malloc-env", action="store_true")
    a = p.parse_args()
    sizes = dict(hidden=128, layers=2, heads=4, kv_heads=None, head_dim=None, intermediate=320, vocab=18)
    hf = dict(hidden_size="hidden", num_hidden_layers="layers", num_attention_heads="heads",
              num_key_value_heads="kv_heads", intermediate_size="intermediate", vocab_size="vocab")
    if a.config:
        with open(a.config) as f:
            for k, v in json.load(f).items():
                k = hf.get(k, k).replace("-", "_")
                if k in sizes:
                    sizes[k] = v
    for k in sizes:
        if getattr(a, k) is not None:
            sizes[k] = getattr(a, k)
    sizes["kv_heads"] = sizes["kv_heads"] or sizes["heads"]
    sizes["head_dim"] = sizes["head_dim"] or sizes["hidden"] // sizes["heads"]
    a.sizes = sizes
    if a.rows is None:
        a.rows = 64 if a.mode == "warmstart" else 256
    return a


ARGS = parse_args()
if not ARGS.no_malloc_env and any(os.environ.get(k) != v for k, v in MALLOC_ENV.items()):
    os.execve(sys.executable, [sys.executable] + sys.argv, {**os.environ, **MALLOC_ENV})

import time  # noqa: E402

try:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
except ImportError as e:
    sys.exit(f"missing package: {e.name} (pip install torch)")

torch.set_num_threads(ARGS.threads)


# ---------------------------------------------------------------- batch
class Lcg:
    def __init__(self, seed):
        self.x = seed & 0xFFFFFFFF

    def next(self):
        self.x = (self.x * 1664525 + 1013904223) & 0xFFFFFFFF
        return self.x >> 8

    def int(self, a, b):
        return a + (self.next() * (b - a + 1) >> 24)

    def unit(self):
        return self.next() / 16777216.0


def make_batch(a):
    g, V = Lcg(a.seed), a.sizes["vocab"]
    if a.lengths:
        with open(a.lengths) as f:
            d = json.load(f)
        pl, cl = d["prompts"], d["completions"]
        if len(pl) != len(cl):
            sys.exit("--lengths: prompts and completions differ in number")
        a.rows = len(pl)
    else:
        pl, cl = [], []
        for _ in range(a.rows):
            pl.append(g.int(*a.prompt_len))
            cl.append(g.int(*a.completion_len))
    prompts, comps = [], []
    for p, c in zip(pl, cl):
        prompts.append([g.int(0, V - 1) for _ in range(p)])
        comps.append([g.int(0, V - 1) for _ in range(c)])
    adv, old = [], []
    for c in cl:
        ra, ro = [], []
        for _ in range(c):
            ra.append(2 * g.unit() - 1)
            ro.append(-math.log(V) + 0.2 * (g.unit() - 0.5))
        adv.append(ra)
        old.append(ro)
    return dict(prompts=prompts, comps=comps, adv=adv, old=old, pl=pl, cl=cl)


# ---------------------------------------------------------------- model
def rms(x, w, eps=1e-5):
    return F.rms_norm(x, (x.shape[-1],), w, eps)


def rms_plain(x, w, eps=1e-5):  # what inductor fuses best
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * w


class Policy(nn.Module):
    """Fused q/k/v and gate/up matrices; token-wise work on flat [N, d], attention per segment [rows, len]."""

    def __init__(self, s, max_pos):
        super().__init__()
        d, H, K, D, I, Ln, V = (s[k] for k in ("hidden", "heads", "kv_heads", "head_dim", "intermediate", "layers", "vocab"))
        self.s, self.d, self.H, self.K, self.D, self.I, self.L = s, d, H, K, D, I, Ln
        P = lambda *sh, std=None: nn.Parameter(torch.randn(*sh) * std if std is not None else torch.ones(*sh))
        out = 1 / math.sqrt(2 * Ln)
        self.embed = P(V, d, std=0.02)
        self.norm = P(d)
        self.n1 = nn.ParameterList([P(d) for _ in range(Ln)])
        self.n2 = nn.ParameterList([P(d) for _ in range(Ln)])
        self.wqkv = nn.ParameterList([P((H + 2 * K) * D, d, std=d ** -0.5) for _ in range(Ln)])
        self.wo = nn.ParameterList([P(d, H * D, std=(H * D) ** -0.5 * out) for _ in range(Ln)])
        self.w13 = nn.ParameterList([P(2 * I, d, std=d ** -0.5) for _ in range(Ln)])
        self.w2 = nn.ParameterList([P(d, I, std=I ** -0.5 * out) for _ in range(Ln)])
        inv = 1e4 ** (-torch.arange(0, D, 2).double() / D)
        ang = torch.arange(max_pos).double()[:, None] * inv
        self.register_buffer("cos", ang.cos().float())
        self.register_buffer("sin", ang.sin().float())

    def hf(self):
        H, K, D, I = self.H, self.K, self.D, self.I
        t = {"model.embed_tokens.weight": self.embed, "model.norm.weight": self.norm}
        for i in range(self.L):
            p = f"model.layers.{i}."
            q, k, v = self.wqkv[i].split([H * D, K * D, K * D])
            g, u = self.w13[i].split([I, I])
            t.update({p + "input_layernorm.weight": self.n1[i], p + "post_attention_layernorm.weight": self.n2[i],
                      p + "self_attn.q_proj.weight": q, p + "self_attn.k_proj.weight": k, p + "self_attn.v_proj.weight": v,
                      p + "self_attn.o_proj.weight": self.wo[i], p + "mlp.gate_proj.weight": g, p + "mlp.up_proj.weight": u,
                      p + "mlp.down_proj.weight": self.w2[i]})
        return t

    def rope(self, qk, c, s):  # qk [..., heads, D]; c, s broadcastable [..., 1, D/2]
        h = self.D // 2
        x1, x2 = qk[..., :h], qk[..., h:]
        return torch.cat((x1 * c - x2 * s, x2 * c + x1 * s), -1)

    def attend(self, q, k, v, how):  # [B, L, heads, D] -> [B, L, H*D], causal (right padding needs no mask)
        B, L = q.shape[:2]
        if how == "bmm":
            r = self.H // self.K
            if r > 1:
                k, v = k.repeat_interleave(r, 2), v.repeat_interleave(r, 2)
            q, k, v = (t.transpose(1, 2) for t in (q, k, v))
            m = torch.ones(L, L, dtype=torch.bool).tril()
            sc = (q * self.D ** -0.5) @ k.transpose(-1, -2)
            o = sc.masked_fill(~m, float("-inf")).softmax(-1) @ v
        else:
            q, k, v = (t.transpose(1, 2) for t in (q, k, v))
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.H != self.K)
        return o.transpose(1, 2).reshape(B, L, self.H * self.D)

    def mlp(self, x, i, norm):
        g, u = F.linear(norm(x, self.n2[i]), self.w13[i]).split(self.I, -1)
        return x + F.linear(F.silu(g) * u, self.w2[i])

    def hidden_flat(self, ids, pos, segs, need, how="sdpa", trim=True, norm=rms):
        """ids, pos [N] in segment order; need [M] the positions whose logits count; trim: the last block's
        output projection and MLP run only on them."""
        H, K, D = self.H, self.K, self.D
        x = F.embedding(ids, self.embed)
        c, s = self.cos[pos][:, None], self.sin[pos][:, None]
        for i in range(self.L):
            qkv = F.linear(norm(x, self.n1[i]), self.wqkv[i]).view(-1, H + 2 * K, D)
            qk = self.rope(qkv[:, :H + K], c, s)
            v = qkv[:, H + K:]
            if len(segs) == 1:
                B, L = segs[0]
                o = self.attend(qk[:, :H].view(B, L, H, D), qk[:, H:].view(B, L, K, D), v.view(B, L, K, D), how).view(-1, H * D)
            else:
                sz = [b * l for b, l in segs]
                o = torch.cat([self.attend(a[:, :H].view(b, l, H, D), a[:, H:].view(b, l, K, D), w.view(b, l, K, D), how).view(-1, H * D)
                               for (b, l), a, w in zip(segs, qk.split(sz), v.split(sz))])
            if trim and i == self.L - 1:
                o, x = o[need], x[need]
            x = x + F.linear(o, self.wo[i])
            x = self.mlp(x, i, norm)
        if not trim:
            x = x[need]
        return norm(x, self.norm)

    def logits_flat(self, *a, **k):
        return F.linear(self.hidden_flat(*a, **k), self.embed)


# ---------------------------------------------------------------- packing a batch in micro-batches
def pack(b, micro=1, segments=1, sort=True, round_len=1, equal_tokens=False):
    """Micro-batches of sorted rows; each holds `segments` right-padded blocks [rows, len]. The last
    completion token is predicted only, never fed. Returns tensors per micro-batch in its own row order."""
    n = len(b["pl"])
    full = [p + c - 1 for p, c in zip(b["pl"], b["cl"])]
    order = sorted(range(n), key=lambda i: -full[i]) if sort else list(range(n))
    blocks = micro * segments
    cuts = [n * j // blocks for j in range(blocks + 1)]
    if equal_tokens:  # as many tokens (not rows) in each block
        tot, cuts, acc = sum(full), [0], 0
        for j, i in enumerate(order):
            acc += full[i]
            if acc >= tot * len(cuts) / blocks and len(cuts) < blocks:
                cuts.append(j + 1)
        cuts += [n] * (blocks + 1 - len(cuts))
    out = []
    for m in range(micro):
        ids, pos, segs, need, tgt, adv, old, rows = [], [], [], [], [], [], [], []
        for s in range(segments):
            rr = order[cuts[m * segments + s]:cuts[m * segments + s + 1]]
            if not rr:
                continue
            L = -(-max(full[i] for i in rr) // round_len) * round_len
            segs.append((len(rr), L))
            for i in rr:
                base = len(ids)
                r = b["prompts"][i] + b["comps"][i][:-1]
                ids += r + [0] * (L - len(r))
                pos += range(L)
                need += range(base + b["pl"][i] - 1, base + len(r))
                tgt += b["comps"][i]
                adv += b["adv"][i]
                old += b["old"][i]
                rows.append(i)
        t = torch.tensor
        out.append(dict(ids=t(ids), pos=t(pos), segs=segs, need=t(need), tgt=t(tgt), adv=t(adv), old=t(old), rows=rows))
    return out


def token_stats(logits, tgt):
    """log-prob of the target and (detached) entropy"""
    lp = torch.log_softmax(logits, -1)
    l = lp.detach()
    return lp.gather(-1, tgt[:, None])[:, 0], -(l.exp() * l).sum(-1)


def ppo(logits, tgt, adv, old, norm_tokens, eps=0.2):
    logp, ent = token_stats(logits, tgt)
    ratio = (logp - old).exp()
    loss = -torch.min(ratio * adv, ratio.clamp(1 - eps, 1 + eps) * adv).sum() / norm_tokens
    return loss, ent.sum(), logp.detach()


def sft(logits, tgt, adv, old, norm_tokens):
    logp, ent = token_stats(logits, tgt)
    return -logp.sum() / norm_tokens, ent.sum(), logp.detach()


# ---------------------------------------------------------------- timing
def percentile(v, q):
    v = sorted(v)
    x = (len(v) - 1) * q
    i = int(x)
    return v[i] + (v[min(i + 1, len(v) - 1)] - v[i]) * (x - i)


def cpu_ticks():
    """(seconds of CPU used by everything on the machine, by this process); None where /proc is missing"""
    try:
        with open("/proc/stat") as f:
            v = [int(x) for x in f.readline().split()[1:9]]
    except OSError:
        return None
    t = os.times()
    return (sum(v) - v[3] - v[4]) / os.sysconf("SC_CLK_TCK"), t.user + t.system


def measure_once(f, runs, warmup):
    for _ in range(max(2, warmup)):
        f()
    ts, c0, w0 = [], cpu_ticks(), time.perf_counter()
    for _ in range(runs):
        t = time.perf_counter()
        f()
        ts.append((time.perf_counter() - t) * 1e3)
    w, c1 = time.perf_counter() - w0, cpu_ticks()
    others = max(0., (c1[0] - c0[0]) - (c1[1] - c0[1])) / w if c0 else 0.  # cores used by other processes
    return dict(median_ms=percentile(ts, .5), p10_ms=percentile(ts, .1), p90_ms=percentile(ts, .9), min_ms=min(ts), others_cores=others)


def measure(f, runs, warmup):
    """Other processes ruin OpenMP timings, so a block of runs during which they used more than --max-others cores
    is repeated (up to --retries times); the quietest block is kept."""
    best = None
    for _ in range(ARGS.retries + 1):
        m = measure_once(f, runs, warmup)
        if best is None or m["others_cores"] < best["others_cores"]:
            best = m
        if m["others_cores"] <= ARGS.max_others:
            break
        time.sleep(ARGS.retry_wait)
    return best


def short(e):
    return f"{type(e).__name__}: {str(e).strip().splitlines()[0][:140]}" if str(e).strip() else type(e).__name__


def wanted(name):
    v = [x for x in ARGS.variants.split(";") if x]
    if ARGS.no_compile and "compile" in name:
        return False
    return not v or any(x in name for x in v)


# ---------------------------------------------------------------- update / logprobs / warmstart
def train_variants(mode, rows):
    """name -> (pack options, forward options, compile options or None)"""
    v = {}
    v["eager padded, one batch"] = (dict(sort=False), dict(trim=False), None)
    v["eager padded, one batch, bmm attention"] = (dict(sort=False), dict(trim=False, how="bmm"), None)
    for m in (4, 8, 16):
        if rows >= 4 * m:
            v[f"eager buckets x{m}"] = (dict(micro=m, equal_tokens=True), dict(trim=False), None)
            v[f"eager buckets x{m}, trimmed last block"] = (dict(micro=m, equal_tokens=True), dict(), None)
    if rows >= 32:
        v["eager buckets x8, trimmed, bmm attention"] = (dict(micro=8, equal_tokens=True), dict(how="bmm"), None)
        v["eager buckets x4, trimmed, bmm attention"] = (dict(micro=4, equal_tokens=True), dict(how="bmm"), None)
        v["eager packed, 8 sdpa segments, trimmed"] = (dict(segments=8, equal_tokens=True), dict(), None)
        v["eager packed x4, 4 sdpa segments, trimmed"] = (dict(micro=4, segments=4, equal_tokens=True), dict(), None)
    dyn, sta = dict(dynamic=True), dict(dynamic=False)
    c = dict(norm=rms_plain)
    v["compile padded, one batch (static)"] = (dict(sort=False), dict(c, trim=False), sta)
    for m in (4, 8, 16):
        if rows >= 4 * m:
            v[f"compile buckets x{m}, trimmed (dynamic)"] = (dict(micro=m, equal_tokens=True), c, dyn)
    if rows >= 32:
        v["compile buckets x8, trimmed, bmm attention (dynamic)"] = (dict(micro=8, equal_tokens=True), dict(c, how="bmm"), dyn)
        v["compile buckets x4, trimmed, bmm attention (dynamic)"] = (dict(micro=4, equal_tokens=True), dict(c, how="bmm"), dyn)
        v["compile buckets x8, trimmed, bmm, C++ wrapper (dynamic)"] = (dict(micro=8, equal_tokens=True), dict(c, how="bmm"), dict(dynamic=True, options={"cpp_wrapper": True}))
    if rows >= 16:
        v["compile buckets x4, trimmed (static per bucket)"] = (dict(micro=4, equal_tokens=True), c, sta)
    return v


def run_train(a, b):
    mode = a.mode
    V = a.sizes["vocab"]
    resp, total = sum(b["cl"]), sum(b["pl"]) + sum(b["cl"])
    lossf = sft if mode == "warmstart" else ppo
    max_pos = max(p + c for p, c in zip(b["pl"], b["cl"])) + 16
    torch.manual_seed(a.seed)
    model = Policy(a.sizes, max_pos)
    load_save(a, model)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    params = list(model.parameters())
    print(f"{sum(p.numel() for p in params):,} parameters; {a.rows} rows, {resp:,} response tokens, {total:,} total tokens")
    ref, results, info = None, [], {}

    def optim(fused):
        kw = dict(lr=4e-3, betas=(.9, .95), weight_decay=.05) if mode == "warmstart" else dict(lr=3e-4, betas=(.9, .99), weight_decay=0.)
        try:
            return torch.optim.AdamW(params, fused=fused, foreach=None if fused else True, **kw)
        except RuntimeError:
            return torch.optim.AdamW(params, foreach=True, **kw)

    for name, (pk, fw, comp) in train_variants(mode, a.rows).items():
        if not wanted(name):
            continue
        model.load_state_dict(start)
        if comp is not None:
            torch._dynamo.reset()
            torch._dynamo.config.recompile_limit = 64
        mbs = pack(b, **pk)
        padded = sum(l * r for mb in mbs for r, l in mb["segs"])

        def chunk_loss(mb, B=None, L=None):
            segs = mb["segs"] if B is None else [(B, L)]
            lg = model.logits_flat(mb["ids"], mb["pos"], segs, mb["need"], **fw)
            return lossf(lg, mb["tgt"], mb["adv"], mb["old"], resp)

        def chunk_logp(mb):
            lg = model.logits_flat(mb["ids"], mb["pos"], mb["segs"], mb["need"], **fw)
            return token_stats(lg, mb["tgt"])[0]

        fn = chunk_logp if mode == "logprobs" else chunk_loss
        if comp is not None:
            if mode == "logprobs":
                def core(ids2, need, tgt):
                    B, L = ids2.shape
                    pos = torch.arange(L).repeat(B)
                    return token_stats(model.logits_flat(ids2.reshape(-1), pos, [(B, L)], need, **fw), tgt)[0]
                cc = torch.compile(core, **comp)
                fn = lambda mb: cc(mb["ids"].view(mb["segs"][0]), mb["need"], mb["tgt"])
            else:
                def core(ids2, need, tgt, adv, old):
                    B, L = ids2.shape
                    pos = torch.arange(L).repeat(B)
                    lg = model.logits_flat(ids2.reshape(-1), pos, [(B, L)], need, **fw)
                    return lossf(lg, tgt, adv, old, resp)
                cc = torch.compile(core, **comp)
                fn = lambda mb: cc(mb["ids"].view(mb["segs"][0]), mb["need"], mb["tgt"], mb["adv"], mb["old"])
        opt = optim(True)

        def backward_all():
            opt.zero_grad(set_to_none=True)
            tl = te = 0.
            for mb in mbs:
                loss, ent, _ = fn(mb)
                loss.backward()
                tl += loss.detach()
                te += ent
            return tl, te

        def update():
            tl, te = backward_all()
            nrm = nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
            opt.step()
            return float(tl), float(te) / resp, float(nrm)

        def logprobs():
            with torch.inference_mode():
                return [fn(mb) for mb in mbs]

        try:
            t0 = time.perf_counter()
            if mode == "logprobs":
                lp = logprobs()
                first = time.perf_counter() - t0
                full = reorder(lp, mbs, b)
                if ref is None:
                    ref = full
                    info = dict(mean_logp=float(full.mean()))
                diff = float((full - ref).abs().max())
                ok = diff < 1e-4
            else:
                tl, te = backward_all()
                first = time.perf_counter() - t0
                gr = torch.cat([p.grad.reshape(-1) for p in params]).clone()
                if ref is None:
                    ref = gr
                    info = dict(loss=float(tl), entropy=float(te) / resp, grad_norm=float(gr.norm()))
                diff = float((gr - ref).norm() / ref.norm())
                ok = diff < 1e-4 and abs(float(tl) - info["loss"]) < 1e-5
            if not ok:
                print(f"DISAGREES  {name}: difference {diff:.2e}")
                results.append(dict(variant=name, error=f"disagrees {diff:.2e}"))
                continue
            m = measure(logprobs if mode == "logprobs" else update, a.runs, a.warmup)
        except Exception as e:  # no compiler, unsupported op
            print(f"skipped    {name}: {short(e)}")
            results.append(dict(variant=name, error=short(e)))
            continue
        m.update(variant=name, response_tps=resp / m["median_ms"] * 1e3, total_tps=total / m["median_ms"] * 1e3,
                 padded_positions=padded, difference=diff, first_call_s=first)
        results.append(m)
        print(f"  {name:58s} {m['median_ms']:8.1f} ms", flush=True)
    return results, dict(info, response_tokens=resp, total_tokens=total)


def reorder(lps, mbs, b):
    per = [None] * len(b["cl"])
    for lp, mb in zip(lps, mbs):
        o = 0
        for i in mb["rows"]:
            per[i] = lp[o:o + b["cl"][i]].clone()
            o += b["cl"][i]
    return torch.cat(per)


# ---------------------------------------------------------------- generation
class Generator:
    """Left-padded prompts, one preallocated cache per layer, [B, K, Lmax, D]; every row writes the same slot."""

    def __init__(self, model, b, new, attn, compile_opts=None, block=1, norm=rms, full_length=False):
        self.m, self.new, self.attn, self.norm = model, new, attn, norm
        self.P = max(b["pl"])
        self.B = len(b["pl"])
        self.Lmax = -(-(self.P + new) // block) * block
        self.block, self.full_length = block, full_length
        self.ids = torch.tensor([[0] * (self.P - len(p)) + p for p in b["prompts"]])
        self.pad = torch.tensor([self.P - len(p) for p in b["prompts"]])
        self.k = [torch.zeros(self.B, model.K, self.Lmax, model.D) for _ in range(model.L)]
        self.v = [torch.zeros_like(t) for t in self.k]
        if attn == "kT":   # keys transposed: [B, K, D, Lmax]
            self.k = [torch.zeros(self.B, model.K, model.D, self.Lmax) for _ in range(model.L)]
        ar = torch.arange(self.Lmax)
        self.padmask = (ar[None] >= self.pad[:, None])                       # [B, Lmax]
        self.bias = torch.zeros(self.B, self.Lmax).masked_fill_(~self.padmask, float("-inf"))[:, None, None, :].contiguous()
        self.steps = torch.arange(self.Lmax)
        self.fn = self.step
        if compile_opts is not None:
            self.fn = torch.compile(self.step_c, **compile_opts)
        self.compiled = compile_opts is not None

    def prefill(self):
        m, B, P = self.m, self.B, self.P
        x = F.embedding(self.ids.view(-1), m.embed)
        pos = (torch.arange(P)[None] - self.pad[:, None]).clamp_(min=0).view(-1)
        c, s = m.cos[pos][:, None], m.sin[pos][:, None]
        mask = torch.ones(P, P, dtype=torch.bool).tril()[None] & (self.padmask[:, None, :P] | torch.eye(P, dtype=torch.bool))
        for i in range(m.L):
            qkv = F.linear(rms(x, m.n1[i]), m.wqkv[i]).view(-1, m.H + 2 * m.K, m.D)
            qk = m.rope(qkv[:, :m.H + m.K], c, s)
            q = qk[:, :m.H].view(B, P, m.H, m.D).transpose(1, 2)
            k = qk[:, m.H:].view(B, P, m.K, m.D).transpose(1, 2)
            v = qkv[:, m.H + m.K:].view(B, P, m.K, m.D).transpose(1, 2)
            if self.attn == "kT":
                self.k[i][..., :P] = k.transpose(-1, -2)
            else:
                self.k[i][:, :, :P] = k
            self.v[i][:, :, :P] = v
            o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None], enable_gqa=m.H != m.K)
            o = o.transpose(1, 2)
            if i == m.L - 1:
                x = x.view(B, P, -1)[:, -1] + F.linear(o[:, -1].reshape(B, -1), m.wo[i])
            else:
                x = x + F.linear(o.reshape(B * P, -1), m.wo[i])
            x = m.mlp(x, i, rms)
        return F.linear(rms(x, m.norm), m.embed)

    def att(self, q, i, k_all, v_all, bias):
        """q [B, H, D]; k_all/v_all [B, K, L, D]; bias [B, 1, 1, L]"""
        m = self.m
        if self.attn == "sdpa":
            o = F.scaled_dot_product_attention(q[:, :, None], k_all, v_all, attn_mask=bias, enable_gqa=m.H != m.K)
            return o.reshape(self.B, -1)
        r = m.H // m.K
        q = q.view(self.B, m.K, r, m.D) * m.D ** -0.5
        if self.attn == "mulsum":
            sc = (q[:, :, :, None] * k_all[:, :, None]).sum(-1) + bias       # [B, K, r, L]
            p = sc.softmax(-1)
            o = (p[..., None] * v_all[:, :, None]).sum(-2)
        elif self.attn == "kT":                                              # k_all [B, K, D, L]
            sc = (q[..., None] * k_all[:, :, None]).sum(-2) + bias
            p = sc.softmax(-1)
            o = (p[..., None] * v_all[:, :, None]).sum(-2)
        else:
            sc = q @ k_all.transpose(-1, -2) + bias
            o = sc.softmax(-1) @ v_all
        return o.reshape(self.B, -1)

    def layers(self, tok, c, s, write, view, bias):
        m = self.m
        x = F.embedding(tok, m.embed)
        for i in range(m.L):
            qkv = F.linear(self.norm(x, m.n1[i]), m.wqkv[i]).view(self.B, m.H + 2 * m.K, m.D)
            qk = m.rope(qkv[:, :m.H + m.K], c, s)
            write(i, qk[:, m.H:], qkv[:, m.H + m.K:])
            k, v = view(i)
            x = x + F.linear(self.att(qk[:, :m.H], i, k, v, bias), m.wo[i])
            x = m.mlp(x, i, self.norm)
        return F.linear(self.norm(x, m.norm), m.embed)

    @staticmethod
    def sample(logits, gumbel):
        tok = (logits + gumbel).argmax(-1)
        return tok, torch.log_softmax(logits, -1).gather(-1, tok[:, None])[:, 0]

    def step(self, tok, t, gumbel):  # eager: t a python int
        m = self.m
        pos = t - self.pad
        c, s = m.cos[pos][:, None], m.sin[pos][:, None]

        def write(i, k, v):
            self.k[i][:, :, t] = k
            self.v[i][:, :, t] = v

        view = lambda i: (self.k[i][:, :, :t + 1], self.v[i][:, :, :t + 1])
        return self.sample(self.layers(tok, c, s, write, view, self.bias[..., :t + 1]), gumbel)

    def step_c(self, tok, tt, ks, vs, bias, pad, steps, gumbel):  # compiled: tt a tensor [1], cache views of length L
        m = self.m
        pos = tt - pad
        c, s = m.cos[pos][:, None], m.sin[pos][:, None]
        bias = torch.where(steps[None, None, None] <= tt, bias, float("-inf"))

        def write(i, k, v):
            if self.attn == "kT":
                ks[i][:, :, :, tt] = k[..., None]
            else:
                ks[i][:, :, tt] = k[:, :, None]
            vs[i][:, :, tt] = v[:, :, None]

        view = lambda i: (ks[i], vs[i])
        return self.sample(self.layers(tok, c, s, write, view, bias), gumbel)

    def run(self):
        m = self.m
        with torch.no_grad():
            noise = -torch.empty(self.new, self.B, m.s["vocab"]).exponential_().log_() if m.s["vocab"] <= 4096 else None
            gum = lambda j: noise[j] if noise is not None else -torch.empty(self.B, m.s["vocab"]).exponential_().log_()
            toks, lps = torch.empty(self.new, self.B, dtype=torch.long), torch.empty(self.new, self.B)
            tok, lp = self.sample(self.prefill(), gum(0))
            toks[0], lps[0] = tok, lp
            for j in range(1, self.new):
                t = self.P + j - 1
                if self.compiled:
                    L = self.Lmax if self.full_length else min(self.Lmax, -(-(t + 1) // self.block) * self.block)
                    ks = [k[..., :L] if self.attn == "kT" else k[:, :, :L] for k in self.k]
                    tok, lp = self.fn(tok, self.steps[t:t + 1], ks, [v[:, :, :L] for v in self.v], self.bias[..., :L],
                                      self.pad, self.steps[:L], gum(j))
                else:
                    tok, lp = self.step(tok, t, gum(j))
                toks[j], lps[j] = tok, lp
        return toks.T, lps.T


def run_generate(a, b):
    torch.manual_seed(a.seed)
    model = Policy(a.sizes, max(b["pl"]) + a.new_tokens + 64)
    load_save(a, model)
    model.requires_grad_(False)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; {a.rows} rows x {a.new_tokens} new tokens, "
          f"prompts {min(b['pl'])}..{max(b['pl'])}")
    cp = dict(norm=rms_plain)
    sta, dyn = dict(dynamic=False), dict(dynamic=True)
    V = {
        "eager, static cache, sdpa": dict(attn="sdpa"),
        "eager, static cache, matmul": dict(attn="matmul"),
        "compile, full-length cache, mul-sum": dict(attn="mulsum", compile_opts=sta, full_length=True, **cp),
        "compile, length in blocks of 16, mul-sum": dict(attn="mulsum", compile_opts=sta, block=16, **cp),
        "compile, length in blocks of 16, transposed keys": dict(attn="kT", compile_opts=sta, block=16, **cp),
        "compile, length in blocks of 16, sdpa": dict(attn="sdpa", compile_opts=sta, block=16, **cp),
        "compile, length in blocks of 16, matmul": dict(attn="matmul", compile_opts=sta, block=16, **cp),
        "compile, dynamic length, sdpa": dict(attn="sdpa", compile_opts=dyn, block=8, **cp),
        "compile, blocks of 16, mul-sum, C++ wrapper": dict(attn="mulsum", compile_opts=dict(dynamic=False, options={"cpp_wrapper": True}), block=16, **cp),
    }
    results = []
    for name, kw in V.items():
        if not wanted(name):
            continue
        try:
            if "compile_opts" in kw:
                torch._dynamo.reset()
                torch._dynamo.config.recompile_limit = 64
            g = Generator(model, b, a.new_tokens, **kw)
            t0 = time.perf_counter()
            toks, lps = g.run()
            first = time.perf_counter() - t0
            # check: the log-probs of a full forward over prompt + sampled tokens
            bb = dict(prompts=b["prompts"], comps=toks.tolist(), pl=b["pl"], cl=[a.new_tokens] * a.rows,
                      adv=[[0.] * a.new_tokens] * a.rows, old=[[0.] * a.new_tokens] * a.rows)
            mb = pack(bb, sort=False)[0]
            with torch.inference_mode():
                want = token_stats(model.logits_flat(mb["ids"], mb["pos"], mb["segs"], mb["need"]), mb["tgt"])[0]
            diff = float((want - lps.reshape(-1)).abs().max())
            if not diff < 2e-4:
                raise AssertionError(f"log-probs disagree with a full forward by {diff:.2e}")
            m = measure(g.run, a.runs, a.warmup)
            pf = measure(lambda: torch.no_grad()(g.prefill)(), 5, 2)
        except Exception as e:
            print(f"skipped    {name}: {short(e)}")
            results.append(dict(variant=name, error=short(e)))
            continue
        n = a.rows * a.new_tokens
        m.update(variant=name, response_tps=n / m["median_ms"] * 1e3, prefill_ms=pf["median_ms"],
                 decode_step_ms=(m["median_ms"] - pf["median_ms"]) / max(1, a.new_tokens - 1), difference=diff, first_call_s=first)
        results.append(m)
        print(f"  {name:58s} {m['median_ms']:8.1f} ms", flush=True)
    return results, dict(new_tokens=a.new_tokens, rows=a.rows)


def load_save(a, model):
    if not (a.weights or a.save_weights):
        return
    try:
        from safetensors.torch import load_file, save_file
    except ImportError:
        sys.exit("missing package: safetensors (needed for --weights / --save-weights)")
    with torch.no_grad():
        if a.weights:
            f = load_file(a.weights)
            for k, p in model.hf().items():
                p.copy_(f[k])  # the split tensors are views
        if a.save_weights:
            save_file({k: v.detach().clone().contiguous() for k, v in model.hf().items()}, a.save_weights)


def main():
    a = ARGS
    b = make_batch(a)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else -1
    print(f"torch {torch.__version__}, {a.threads} threads, mode {a.mode}, load average {load:.2f}")
    results, info = (run_generate if a.mode == "generate" else run_train)(a, b)
    good = [r for r in results if "error" not in r]
    print(f"\n{'variant':58s} {'median ms':>10s} {'min':>8s} {'p10':>8s} {'p90':>8s} {'resp tok/s':>11s} {'total tok/s':>11s} {'first s':>8s} {'others':>7s}")
    for r in results:
        if "error" in r:
            print(f"{r['variant']:58s} {r['error']}")
        else:
            tt = f"{r['total_tps']:11,.0f}" if "total_tps" in r else f"{'':11s}"
            print(f"{r['variant']:58s} {r['median_ms']:10.1f} {r['min_ms']:8.1f} {r['p10_ms']:8.1f} {r['p90_ms']:8.1f} "
                  f"{r['response_tps']:11,.0f} {tt} {r['first_call_s']:8.1f} {r['others_cores']:7.2f}")
    best = min(good, key=lambda r: r["median_ms"]) if good else None
    if best:
        print(f"best: {best['variant']}: {best['median_ms']:.1f} ms, {best['response_tps']:,.0f} response tokens/s")
    print({k: (round(v, 6) if isinstance(v, float) else v) for k, v in info.items()})
    if a.json:
        with open(a.json, "w") as f:
            json.dump(dict(peer="policy", torch=torch.__version__, mode=a.mode, threads=a.threads, rows=a.rows, sizes=a.sizes,
                           seed=a.seed, load=load, info=info, results=results, best=best and best["variant"]), f, indent=1)


if __name__ == "__main__":
    main()
