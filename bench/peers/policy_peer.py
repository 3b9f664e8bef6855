"""A Llama decoder in PyTorch, written as one would for speed on a CPU: an update, scoring, generation. See server.py.

Fused q/k/v and gate/up matrices, the head and the last block only where tokens are scored, sequences in buckets by length, a
static cache. About twenty formulations were tried; each of these was the fastest at some time. The time excludes sorting
by length, padding, building indices and compilation.

update     forward, clipped loss (epsilon 0.2, mean over all tokens), entropy as a metric, backward, norm clipped to 1, AdamW
logprobs   log-probabilities of the completions, without gradients
generate   sampling at temperature 1 with the log-probability of each token; nothing ends a sequence
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from common import Variant, read, without_grad
from kernels_peer import EPSILON


# Llama's usual; a model that has another is refused (model.bench.ts).
def rms(x, w):
    return F.rms_norm(x, (x.shape[-1],), w, 1e-5)


def rms_plain(x, w):  # what the compiler fuses best
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * w


class Policy(nn.Module):
    def __init__(self, p, arrays, longest):
        super().__init__()
        self.width, self.heads, self.layers, self.inner = p["hidden"], p["heads"], p["layers"], p["intermediate"]
        self.vocab, self.size, self.kv_heads = p["vocab"], p["hidden"] // p["heads"], p["kvHeads"]
        layers = range(self.layers)

        def weight(names, i=None):
            """Matrices of a checkpoint, one under the other."""
            found = [read(arrays, name if i is None else f"model.layers.{i}.{name}") for name in names]
            whole = torch.cat(found)
            return nn.Parameter(whole if whole.numel() == self.width else whole.view(-1, self.inner if "down" in names[0] else self.width))

        self.embed, self.norm = weight(["model.embed_tokens.weight"]), weight(["model.norm.weight"])
        self.n1 = nn.ParameterList(weight(["input_layernorm.weight"], i) for i in layers)
        self.n2 = nn.ParameterList(weight(["post_attention_layernorm.weight"], i) for i in layers)
        self.qkv = nn.ParameterList(weight([f"self_attn.{x}_proj.weight" for x in "qkv"], i) for i in layers)
        self.o = nn.ParameterList(weight(["self_attn.o_proj.weight"], i) for i in layers)
        self.gate_up = nn.ParameterList(weight([f"mlp.{x}_proj.weight" for x in ("gate", "up")], i) for i in layers)
        self.down = nn.ParameterList(weight(["mlp.down_proj.weight"], i) for i in layers)
        angles = torch.arange(longest).double()[:, None] * p["ropeTheta"] ** (-torch.arange(0, self.size, 2).double() / self.size)
        self.register_buffer("cos", angles.cos().float())
        self.register_buffer("sin", angles.sin().float())

    def gradients(self):
        """By the names of a checkpoint."""
        found = {"d model.embed_tokens.weight": self.embed.grad, "d model.norm.weight": self.norm.grad}
        for i in range(self.layers):
            parts = {"input_layernorm": self.n1[i].grad, "post_attention_layernorm": self.n2[i].grad,
                     "self_attn.o_proj": self.o[i].grad, "mlp.down_proj": self.down[i].grad}
            parts.update(zip((f"self_attn.{x}_proj" for x in "qkv"), self.qkv[i].grad.split([self.width] + 2 * [self.kv_heads * self.size])))
            parts.update(zip(("mlp.gate_proj", "mlp.up_proj"), self.gate_up[i].grad.split(self.inner)))
            found.update({f"d model.layers.{i}.{name}.weight": gradient for name, gradient in parts.items()})
        return {name: gradient.reshape(-1) for name, gradient in found.items()}

    def rope(self, x, cos, sin):  # [..., heads, size]
        a, b = x.split(self.size // 2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def split(self, qkv, cos, sin):
        """[n, heads + 2 kv_heads, size] -> queries, keys, values, the first two rotated."""
        qk = self.rope(qkv[:, :self.heads + self.kv_heads], cos, sin)
        return qk[:, :self.heads], qk[:, self.heads:], qkv[:, self.heads + self.kv_heads:]

    def spread(self, t):
        """Keys or values [rows, kv_heads, ...] for every head."""
        return t if self.kv_heads == self.heads else t.repeat_interleave(self.heads // self.kv_heads, 1)

    def attend(self, q, k, v, how):  # [rows, length, heads, size]; padding is on the right: the causal mask is all it needs
        rows, length = q.shape[:2]
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        k, v = self.spread(k), self.spread(v)
        if how == "bmm":
            mask = torch.ones(length, length, dtype=torch.bool).tril()
            out = ((q * self.size ** -0.5) @ k.transpose(-1, -2)).masked_fill(~mask, float("-inf")).softmax(-1) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return out.transpose(1, 2).reshape(rows * length, self.width)

    def mlp(self, x, i, norm):
        gate, up = F.linear(norm(x, self.n2[i]), self.gate_up[i]).split(self.inner, -1)
        return x + F.linear(F.silu(gate) * up, self.down[i])

    def logits(self, ids, scored, how, norm):
        """ids [rows, length]; scored: positions, of all rows one after the other, whose logits count."""
        rows, length = ids.shape
        positions = torch.arange(length).repeat(rows)
        x = F.embedding(ids.reshape(-1), self.embed)
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        for i in range(self.layers):
            qkv = F.linear(norm(x, self.n1[i]), self.qkv[i]).view(-1, self.heads + 2 * self.kv_heads, self.size)
            q, k, v = (t.reshape(rows, length, -1, self.size) for t in self.split(qkv, cos, sin))
            out = self.attend(q, k, v, how)
            if i == self.layers - 1:
                out, x = out[scored], x[scored]
            x = self.mlp(x + F.linear(out, self.o[i]), i, norm)
        return F.linear(norm(x, self.norm), self.embed)


def token_stats(logits, targets):
    """Log-probability of each target, and the entropies as numbers."""
    lp = torch.log_softmax(logits, -1)
    fixed = lp.detach()
    return lp.gather(-1, targets[:, None])[:, 0], -(fixed.exp() * fixed).sum(-1)


# ---------------------------------------------------------------- the batch in buckets of sequences of like length
def sequences(arrays):
    split = lambda tokens, lengths: [t.tolist() for t in tokens.split(lengths.tolist())]
    prompts = split(read(arrays, "promptTokens"), read(arrays, "promptLengths"))
    return prompts, split(read(arrays, "completionTokens"), read(arrays, "completionLengths"))


def buckets(prompts, completions, count, values):
    """Buckets of about equally many tokens. The last token of a sequence is never fed. `values`: per completion token, packed."""
    lengths = [len(p) + len(c) - 1 for p, c in zip(prompts, completions)]
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    begins = [0]
    for c in completions:
        begins.append(begins[-1] + len(c))
    parts, taken, total = [[]], 0, sum(lengths)
    for i in order:
        if taken >= total * len(parts) / count and len(parts) < count:
            parts.append([])
        parts[-1].append(i)
        taken += lengths[i]
    result = []
    for rows in parts:
        longest = lengths[rows[0]]
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        scored, token = [], []
        for r, i in enumerate(rows):
            ids[r, :lengths[i]] = torch.tensor(prompts[i] + completions[i][:-1])
            scored += range(r * longest + len(prompts[i]) - 1, r * longest + lengths[i])
            token += range(begins[i], begins[i + 1])
        token = torch.tensor(token)
        result.append(dict(ids=ids, scored=torch.tensor(scored), token=token, **{k: v[token] for k, v in values.items()}))
    return result


# buckets, attention, torch.compile's options (None: eager)
TRAINING = (
    ("torch eager", "1 bucket, sdpa", 1, "sdpa", None),
    ("torch eager", "4 buckets, sdpa", 4, "sdpa", None),
    ("torch eager", "4 buckets, matmul attention", 4, "bmm", None),
    ("torch eager", "8 buckets, matmul attention", 8, "bmm", None),
    ("torch.compile", "4 buckets", 4, "sdpa", dict(dynamic=True)),
    ("torch.compile", "8 buckets, matmul attention", 8, "bmm", dict(dynamic=True)),
    ("torch.compile", "8 buckets, matmul attention, C++ wrapper", 8, "bmm", dict(dynamic=True, options={"cpp_wrapper": True})),
)


def training_variants(p, make):
    # A model's update takes up to a minute, and its sequences have one length, so that buckets only differ in size.
    ways = TRAINING[:2] if p["eager"] else TRAINING
    return [Variant(family, name, lambda how=how, count=count, options=options: make(count, how, options))
            for family, name, count, how, options in ways], []


def loading(p, arrays):
    prompts, completions = sequences(arrays)
    targets = torch.tensor([token for c in completions for token in c])
    return prompts, completions, targets, max(len(a) + len(b) for a, b in zip(prompts, completions))


def policy_update(p, arrays, device):
    prompts, completions, targets, longest = loading(p, arrays)
    values = dict(targets=targets, advantages=read(arrays, "advantages"), old=read(arrays, "oldLogProbs"))
    total = len(targets)

    def make(count, how, options):
        policy = Policy(p, arrays, longest)
        parts = buckets(prompts, completions, count, values)
        norm = rms_plain if options else rms

        def loss_of(ids, scored, targets, advantages, old):
            lp, entropy = token_stats(policy.logits(ids, scored, how, norm), targets)
            ratio = (lp - old).exp()
            return -torch.min(ratio * advantages, ratio.clamp(1 - EPSILON, 1 + EPSILON) * advantages).sum() / total, entropy.sum()
        function = torch.compile(loss_of, **options) if options else loss_of
        optimizer = torch.optim.AdamW(policy.parameters(), lr=p["learningRate"], betas=(0.9, p["adamBeta2"]), weight_decay=0.0,
                                      fused=True)

        def backward():
            optimizer.zero_grad(set_to_none=True)
            loss = entropy = 0.0
            for part in parts:
                loss_part, entropy_part = function(part["ids"], part["scored"], part["targets"], part["advantages"], part["old"])
                loss_part.backward()
                loss += loss_part.detach()
                entropy += entropy_part
            return loss, entropy

        def run():
            loss, entropy = backward()
            size = nn.utils.clip_grad_norm_(policy.parameters(), 1.0, foreach=True)
            optimizer.step()
            return float(loss), float(entropy) / total, float(size)

        def outputs():
            loss, _ = backward()
            return {"loss": loss.view(1), **policy.gradients()}
        return run, outputs
    return training_variants(p, make)


def policy_logprobs(p, arrays, device):
    prompts, completions, targets, longest = loading(p, arrays)

    def make(count, how, options):
        policy = Policy(p, arrays, longest)
        parts = buckets(prompts, completions, count, dict(targets=targets))
        norm = rms_plain if options else rms

        def score(ids, scored, targets):
            return token_stats(policy.logits(ids, scored, how, norm), targets)[0]
        function = torch.compile(score, **options) if options else score

        @torch.inference_mode()
        def run():
            return [function(part["ids"], part["scored"], part["targets"]) for part in parts]

        def outputs():
            packed = torch.empty(len(targets))
            for part, found in zip(parts, run()):
                packed[part["token"]] = found
            return {"logProbs": packed}
        return run, outputs
    return training_variants(p, make)


# ---------------------------------------------------------------- generation
class Generator:
    """Prompts padded on the left, and a cache [rows, heads, length, size] per layer in which every row writes the same slot.
    When compiled, a step sees the cache up to the next multiple of `block`, so that a few shapes are enough."""

    def __init__(self, policy, prompts, new, attention, options=None, block=1):
        self.policy, self.new, self.attention, self.block, self.compiled = policy, new, attention, block, options is not None
        self.norm = rms_plain if options else rms
        self.longest, self.rows = max(map(len, prompts)), len(prompts)
        self.length = -(-(self.longest + new) // block) * block
        self.ids = torch.tensor([[0] * (self.longest - len(prompt)) + prompt for prompt in prompts])
        self.pad = torch.tensor([self.longest - len(prompt) for prompt in prompts])
        shape = (self.rows, policy.kv_heads, self.length, policy.size)
        self.k = [torch.zeros(shape) for _ in range(policy.layers)]
        self.v = [torch.zeros(shape) for _ in range(policy.layers)]
        self.steps = torch.arange(self.length)
        self.real = self.steps[None] >= self.pad[:, None]
        self.bias = torch.zeros(self.rows, self.length).masked_fill_(~self.real, float("-inf"))[:, None, None, :].contiguous()
        self.step = torch.compile(self.compiled_step, **options) if self.compiled else self.eager_step

    def prefill(self):
        m, length = self.policy, self.longest
        x = F.embedding(self.ids.view(-1), m.embed)
        positions = (torch.arange(length)[None] - self.pad[:, None]).clamp_(min=0).view(-1)
        cos, sin = m.cos[positions][:, None], m.sin[positions][:, None]
        # A padded position sees itself, so that its row of the softmax is not empty.
        mask = torch.ones(length, length, dtype=torch.bool).tril()[None] & (self.real[:, None, :length] | torch.eye(length, dtype=torch.bool))
        for i in range(m.layers):
            qkv = F.linear(rms(x, m.n1[i]), m.qkv[i]).view(-1, m.heads + 2 * m.kv_heads, m.size)
            q, k, v = (t.reshape(self.rows, length, -1, m.size).transpose(1, 2) for t in m.split(qkv, cos, sin))
            self.k[i][:, :, :length], self.v[i][:, :, :length] = k, v
            out = F.scaled_dot_product_attention(q, m.spread(k), m.spread(v), attn_mask=mask[:, None]).transpose(1, 2).reshape(self.rows, length, -1)
            x = x.view(self.rows, length, -1)
            if i == m.layers - 1:
                out, x = out[:, -1:], x[:, -1:]
            x = m.mlp((x + F.linear(out, m.o[i])).reshape(-1, m.width), i, rms)
        return F.linear(rms(x, m.norm), m.embed)

    def attend(self, q, k, v, bias):  # q [rows, heads, size]; k, v [rows, heads, length, size]; bias [rows, 1, 1, length]
        k, v = self.policy.spread(k), self.policy.spread(v)
        if self.attention == "sdpa":
            return F.scaled_dot_product_attention(q[:, :, None], k, v, attn_mask=bias).reshape(self.rows, -1)
        q = q * self.policy.size ** -0.5
        if self.attention == "mul-sum":
            weights = ((q[:, :, None] * k).sum(-1) + bias[:, :, 0]).softmax(-1)
            return (weights[..., None] * v).sum(-2).reshape(self.rows, -1)
        return ((q[:, :, None] @ k.transpose(-1, -2) + bias).softmax(-1) @ v).reshape(self.rows, -1)

    def forward(self, tokens, positions, slot, ks, vs, bias):
        m = self.policy
        cos, sin = m.cos[positions][:, None], m.sin[positions][:, None]
        x = F.embedding(tokens, m.embed)
        for i in range(m.layers):
            qkv = F.linear(self.norm(x, m.n1[i]), m.qkv[i]).view(self.rows, m.heads + 2 * m.kv_heads, m.size)
            q, k, v = m.split(qkv, cos, sin)
            ks[i][:, :, slot] = k.view(self.rows, m.kv_heads, -1, m.size) if self.compiled else k
            vs[i][:, :, slot] = v.view(self.rows, m.kv_heads, -1, m.size) if self.compiled else v
            x = m.mlp(x + F.linear(self.attend(q, ks[i], vs[i], bias), m.o[i]), i, self.norm)
        return F.linear(self.norm(x, m.norm), m.embed)

    @staticmethod
    def sample(logits, gumbel):
        tokens = (logits + gumbel).argmax(-1)
        return tokens, torch.log_softmax(logits, -1).gather(-1, tokens[:, None])[:, 0]

    def eager_step(self, tokens, at, gumbel):
        seen = at + 1
        cut = lambda cache: [t[:, :, :seen] for t in cache]
        return self.sample(self.forward(tokens, at - self.pad, at, cut(self.k), cut(self.v), self.bias[..., :seen]), gumbel)

    def compiled_step(self, tokens, at, ks, vs, bias, pad, steps, gumbel):  # at: a tensor of one number
        bias = torch.where(steps[None, None, None] <= at, bias, float("-inf"))
        return self.sample(self.forward(tokens, at - pad, at, ks, vs, bias), gumbel)

    def run(self):
        shape = (self.rows, self.policy.vocab)
        # Of all steps at once, unless that is gigabytes.
        small = self.new * self.rows * self.policy.vocab < 1 << 24
        noise = -torch.empty(self.new, *shape).exponential_().log_() if small else None
        draw = lambda j: noise[j] if small else -torch.empty(shape).exponential_().log_()
        tokens, logprobs = torch.empty(self.new, self.rows, dtype=torch.long), torch.empty(self.new, self.rows)
        tokens[0], logprobs[0] = self.sample(self.prefill(), draw(0))
        for j in range(1, self.new):
            at = self.longest + j - 1
            if self.compiled:
                seen = min(self.length, -(-(at + 1) // self.block) * self.block)
                found = self.step(tokens[j - 1], self.steps[at:at + 1], [k[:, :, :seen] for k in self.k], [v[:, :, :seen] for v in self.v],
                                  self.bias[..., :seen], self.pad, self.steps[:seen], draw(j))
            else:
                found = self.step(tokens[j - 1], at, draw(j))
            tokens[j], logprobs[j] = found
        return tokens.T, logprobs.T


def policy_generate(p, arrays, device):
    prompts, _ = sequences(arrays)
    new = p["maxNewTokens"]
    torch.manual_seed(1)

    def make(**kwargs):
        generator = Generator(Policy(p, arrays, max(map(len, prompts)) + new + 64), prompts, new, **kwargs)

        def outputs():
            tokens, logprobs = generator.run()
            return {"tokens": tokens.reshape(-1), "logProbs": logprobs.reshape(-1)}
        return generator.run, outputs
    static = dict(dynamic=False)
    wrapped = dict(dynamic=False, options={"cpp_wrapper": True})
    ways = (
        ("torch eager", "static cache, sdpa", dict(attention="sdpa")),
        ("torch eager", "static cache, matmul", dict(attention="matmul")),
        ("torch.compile", "length in blocks of 16, sdpa", dict(attention="sdpa", options=static, block=16)),
        ("torch.compile", "length in blocks of 16, mul-sum", dict(attention="mul-sum", options=static, block=16)),
        ("torch.compile", "length in blocks of 16, mul-sum, C++ wrapper", dict(attention="mul-sum", options=wrapped, block=16)),
    )
    return [Variant(family, name, without_grad(lambda kwargs=kwargs: make(**kwargs)))
            for family, name, kwargs in ways if "options" not in kwargs or not p["eager"]], []
