"""How PyTorch, TRL and Liger compute what our vocabulary-sized kernels compute. See server.py and common.py."""
import torch
from common import Missing, Variant, read, repeated, simple, without_grad

EPSILON = 0.2
CHUNK_BYTES = 1 << 20  # of float32: stays in the cache of a core


def chunk_rows(vocab):
    return max(1, CHUNK_BYTES // (4 * vocab))


def trl_utils():
    try:
        from trl.trainer import utils
        return utils
    except Exception as error:  # trl is absent, or one of its own imports
        raise Missing(f"trl.trainer.utils: {type(error).__name__}: {error}") from error


def gather(table, targets):
    return table.gather(-1, targets[:, None])[:, 0]


# ---------------------------------------------------------------- log-prob + entropy
def token_logprob(p, arrays, device):
    z = repeated(read(arrays, "pattern", device), (p["tokens"], p["vocab"]), getattr(torch, p["dtype"]))
    y = read(arrays, "targets", device).long()

    def log_softmax():
        lp = torch.log_softmax(z, -1, dtype=torch.float32)
        return gather(lp, y), -(lp.exp() * lp).sum(-1)

    def chunks():
        logprob, entropy = torch.empty(len(z), device=device), torch.empty(len(z), device=device)
        rows = chunk_rows(z.shape[1])
        for i in range(0, len(z), rows):
            lp = torch.log_softmax(z[i:i + rows], -1, dtype=torch.float32)
            logprob[i:i + rows] = gather(lp, y[i:i + rows])
            entropy[i:i + rows] = -lp.exp().mul_(lp).sum(-1)
        return logprob, entropy

    # Compiled functions take the tensors as arguments: a captured one of this size could be taken for a constant.
    def two_sums(z, y):
        z = z.float()
        m = z.amax(-1, keepdim=True)
        e = (z - m).exp()
        s = e.sum(-1)
        return gather(z, y) - m[:, 0] - s.log(), s.log() - (e * (z - m)).sum(-1) / s

    def lse(z, y):
        z = z.float()
        total = z.logsumexp(-1)
        return gather(z, y) - total, total - (z.softmax(-1) * z).sum(-1)

    def plain(z, y):
        lp = torch.log_softmax(z, -1, dtype=torch.float32)
        return gather(lp, y), -(lp.exp() * lp).sum(-1)

    names = ("logProbs", "entropy")
    variants = [Variant("torch eager", "log_softmax", without_grad(simple(log_softmax, names))),
                Variant("torch eager", "log_softmax in chunks of rows", without_grad(simple(chunks, names)))]
    for formulation, f in (("max, two sums", two_sums), ("logsumexp, softmax", lse), ("log_softmax", plain)):
        variants.append(Variant("torch.compile", formulation, without_grad(compile_on(f, (z, y), names))))
    missing = []
    try:
        utils = trl_utils()
        both = lambda z: (utils.selective_log_softmax(z, y), utils.entropy_from_logits(z))
        variants.append(Variant("TRL", "selective_log_softmax, entropy_from_logits", without_grad(simple(lambda: both(z), names))))
        if z.dtype != torch.float32:  # in 16 bits it rounds its results to the logits' type
            variants.append(Variant("TRL", "the same of float32 logits", without_grad(simple(lambda: both(z.float()), names))))
    except Missing as error:
        missing.append(("TRL", str(error)))
    if device == "cuda":
        try:
            variants.append(liger_logprob(z, y))
        except Exception as error:
            missing.append(("Liger", f"{type(error).__name__}: {error}"))
    return variants, missing


def liger_logprob(z, y):
    """Log-probabilities only: Liger computes no entropy with them."""
    from liger_kernel.ops.grpo_loss import fused_selective_log_softmax
    padded = torch.cat((z, z[:1]))[None]  # its logits have one position more than there are tokens
    return Variant("Liger", "fused_selective_log_softmax (no entropy)",
                   without_grad(simple(lambda: fused_selective_log_softmax(padded, y[None], 1.0, None), ())), yardstick=True)


def compile_on(function, args, names):
    """torch.compile of a function of tensors."""
    def make():
        fast = torch.compile(function, dynamic=False)
        return simple(lambda: fast(*args), names)()
    return make


# ---------------------------------------------------------------- clipped loss
def clipped(lp, advantages, old):
    ratio = (lp - old).exp()
    return -torch.min(ratio * advantages, ratio.clamp(1 - EPSILON, 1 + EPSILON) * advantages).mean()


def coefficient(lp, advantages, old, n):
    """Sum of the loss's terms, and d loss / d lp, for n tokens in all."""
    ratio = (lp - old).exp()
    passes = torch.where(advantages >= 0, ratio <= 1 + EPSILON, ratio >= 1 - EPSILON)
    loss = -torch.min(ratio * advantages, ratio.clamp(1 - EPSILON, 1 + EPSILON) * advantages).sum() / n
    return loss, torch.where(passes, -advantages * ratio / n, 0.0)


def autograd(function, leaves, rest):
    """loss and gradients of function(*leaves, *rest)."""
    def run():
        tracked = [leaf.detach().requires_grad_(True) for leaf in leaves]
        loss = function(*tracked, *rest)
        return (loss.detach(), *torch.autograd.grad(loss, tracked))
    return run


def clipped_loss(p, arrays, device):
    lp, old, advantages = (read(arrays, name, device) for name in ("logProbs", "oldLogProbs", "advantages"))
    names = ("loss", "dLogProbs")
    analytic = lambda lp, advantages, old: coefficient(lp, advantages, old, len(lp))
    return [
        Variant("torch eager", "autograd", simple(autograd(clipped, (lp,), (advantages, old)), names)),
        Variant("torch eager", "analytic gradient", without_grad(simple(lambda: analytic(lp, advantages, old), names))),
        Variant("torch.compile", "autograd",
                lambda: simple(autograd(torch.compile(clipped, dynamic=False), (lp,), (advantages, old)), names)()),
        Variant("torch.compile", "analytic gradient", without_grad(compile_on(analytic, (lp, advantages, old), names))),
    ], []


# ---------------------------------------------------------------- clipped loss + gradient of the logits
def policy_loss(p, arrays, device):
    tokens, vocab, dtype = p["tokens"], p["vocab"], getattr(torch, p["dtype"])
    pattern = read(arrays, "pattern", device)
    z = repeated(pattern, (tokens, vocab), dtype)
    y, old = read(arrays, "targets", device).long(), read(arrays, "oldLogProbs", device)
    per_sequence = read(arrays, "advantages", device)
    advantages = per_sequence.repeat_interleave(tokens // p["sequences"])
    out = torch.zeros_like(z)
    rows = torch.tensor(p["rows"], device=device)

    def sampled(run):
        def outputs():
            loss, gradient = run()
            return {"loss": loss.view(1), "dLogits": gradient[rows].reshape(-1)}
        return run, outputs

    def log_softmax_loss(z, y, advantages, old):
        return clipped(gather(torch.log_softmax(z, -1, dtype=torch.float32), y), advantages, old)

    def lse_loss(z, y, advantages, old):
        z = z.float()
        return clipped(gather(z, y) - z.logsumexp(-1), advantages, old)

    def analytic(z, y, advantages, old, out, n):  # the exponentials twice: once for the sum, once for the gradient
        zf = z.float()
        m = zf.amax(-1, keepdim=True)
        s = (zf - m).exp().sum(-1, keepdim=True)
        loss, c = coefficient(gather(zf, y) - m[:, 0] - s[:, 0].log(), advantages, old, n)
        hot = torch.arange(z.shape[1], device=z.device)[None] == y[:, None]
        out.copy_((torch.where(hot, c[:, None], 0.0) - (zf - m).exp() * (c / s[:, 0])[:, None]).to(out.dtype))
        return loss

    def analytic_log_softmax(z, y, advantages, old, out, n):
        lp = torch.log_softmax(z, -1, dtype=torch.float32)
        loss, c = coefficient(gather(lp, y), advantages, old, n)
        hot = torch.arange(z.shape[1], device=z.device)[None] == y[:, None]
        out.copy_(((hot.float() - lp.exp()) * c[:, None]).to(out.dtype))
        return loss

    def eager_chunks():
        total, step = 0.0, chunk_rows(vocab)
        for i in range(0, tokens, step):
            s = slice(i, min(i + step, tokens))
            lp = torch.log_softmax(z[s], -1, dtype=torch.float32)
            loss, c = coefficient(gather(lp, y[s]), advantages[s], old[s], tokens)
            total = total + loss
            gradient = lp.exp_().mul_(-c[:, None])
            gradient.scatter_add_(1, y[s, None], c[:, None])
            out[s] = gradient
        return total, out

    def compiled_analytic(function, step):
        def make():
            fast = torch.compile(function, dynamic=False)

            def run():
                total = 0.0
                for i in range(0, tokens, step):
                    s = slice(i, min(i + step, tokens))
                    total = total + fast(z[s], y[s], advantages[s], old[s], out[s], tokens)
                return total, out
            return sampled(run)
        return make

    rest = (y, advantages, old)
    compile_autograd = lambda f: lambda: sampled(autograd(torch.compile(f, dynamic=False), (z,), rest))
    variants = [
        Variant("torch eager", "autograd", lambda: sampled(autograd(log_softmax_loss, (z,), rest))),
        Variant("torch eager", "analytic gradient in chunks of rows", without_grad(lambda: sampled(eager_chunks))),
        Variant("torch.compile", "log_softmax, autograd", compile_autograd(log_softmax_loss)),
        Variant("torch.compile", "logsumexp, autograd", compile_autograd(lse_loss)),
        Variant("torch.compile", "analytic gradient", without_grad(compiled_analytic(analytic, tokens))),
        Variant("torch.compile", "analytic gradient, 64 rows at a time", without_grad(compiled_analytic(analytic, 64))),
        Variant("torch.compile", "log_softmax, analytic gradient", without_grad(compiled_analytic(analytic_log_softmax, tokens))),
    ]
    missing = []
    try:
        utils = trl_utils()
        trl_loss = lambda z, y, advantages, old: clipped(utils.selective_log_softmax(z, y), advantages, old)
        variants.append(Variant("TRL", "selective_log_softmax, autograd", lambda: sampled(autograd(trl_loss, (z,), rest))))
        if dtype != torch.float32:  # as above
            widened = lambda z, *rest: trl_loss(z.float(), *rest)
            variants.append(Variant("TRL", "selective_log_softmax of float32 logits, autograd",
                                    lambda: sampled(autograd(widened, (z,), rest))))
    except Missing as error:
        missing.append(("TRL", str(error)))
    if device == "cuda":
        try:
            variants.append(liger_policy_loss(z, y, per_sequence, old, p["sequences"], sampled))
        except Exception as error:
            missing.append(("Liger", f"{type(error).__name__}: {error}"))
    return variants, missing


def liger_policy_loss(z, y, advantages, old, sequences, sampled):
    """In Triton, with the gradient in place. Its logits have one more position per sequence than tokens."""
    from liger_kernel.transformers.grpo_loss import triton_grpo_loss
    vocab, length = z.shape[1], len(y) // sequences
    logits = torch.empty(sequences, length + 1, vocab, dtype=z.dtype, device=z.device)
    leaf = logits.requires_grad_(True)
    targets, old = y.view(sequences, length), old.view(sequences, length)

    def prepare():
        with torch.no_grad():
            logits[:, :-1] = z.view(sequences, length, vocab)
            logits[:, -1] = 0
        leaf.grad = None

    def run():
        result = triton_grpo_loss(leaf, old, None, targets, advantages, temperature=1.0, beta=0.0, eps_low=EPSILON,
                                  eps_high=EPSILON, inplace=True, loss_type="dapo", reduce=True)
        loss = result[0]
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient

    def make():
        _, outputs = sampled(lambda: (lambda loss, g: (loss, g[:, :-1].reshape(-1, vocab)))(*run()))
        return run, outputs
    return Variant("Liger", "triton_grpo_loss, in place", make, prepare)


# ---------------------------------------------------------------- from hidden states and head
def linear_logprob(p, arrays, device):
    tokens, width, vocab, dtype = p["tokens"], p["width"], p["vocab"], getattr(torch, p["dtype"])
    hidden = repeated(read(arrays, "hiddenPattern", device), (tokens, width), dtype)
    head = repeated(read(arrays, "headPattern", device), (vocab, width), dtype)
    y, old = read(arrays, "targets", device).long(), read(arrays, "oldLogProbs", device)
    per_sequence = read(arrays, "advantages", device)
    advantages = per_sequence.repeat_interleave(tokens // p["sequences"])
    hidden_rows, head_rows = torch.tensor(p["hiddenRows"], device=device), torch.tensor(p["headRows"], device=device)

    def sampled(run):
        def outputs():
            loss, d_hidden, d_head = run()
            return {"loss": loss.view(1), "dHidden": d_hidden[hidden_rows].reshape(-1), "dHead": d_head[head_rows].reshape(-1)}
        return run, outputs

    def loss(hidden, head, y, advantages, old):
        z = (hidden @ head.T).float()
        return clipped(gather(z, y) - z.logsumexp(-1), advantages, old)

    def three_products():
        logits = hidden @ head.T
        return logits @ head, logits.T @ hidden

    rest = (y, advantages, old)
    variants = [
        Variant("torch eager", "autograd", lambda: sampled(autograd(loss, (hidden, head), rest))),
        Variant("torch.compile", "autograd", lambda: sampled(autograd(torch.compile(loss, dynamic=False), (hidden, head), rest))),
        Variant("torch.matmul", "the three products alone", without_grad(simple(three_products, ())), yardstick=True),
    ]
    missing = []
    if device == "cuda":
        try:
            variants.append(liger_linear_loss(hidden, head, y, per_sequence, old, p["sequences"], sampled))
        except Exception as error:
            missing.append(("Liger", f"{type(error).__name__}: {error}"))
    return variants, missing


def liger_linear_loss(hidden, head, y, advantages, old, sequences, sampled):
    from liger_kernel.chunked_loss import LigerFusedLinearGRPOLoss
    length = len(y) // sequences
    fused = LigerFusedLinearGRPOLoss(beta=0.0, use_ref_model=False, epsilon_low=EPSILON, epsilon_high=EPSILON, loss_type="dapo")
    mask = torch.ones(sequences, length, device=hidden.device)

    def loss(hidden, head):
        return fused(hidden.view(sequences, length, -1), head, y.view(sequences, length), mask, advantages,
                     old_per_token_logps=old.view(sequences, length))[0]
    return Variant("Liger", "LigerFusedLinearGRPOLoss", lambda: sampled(autograd(loss, (hidden, head), ())))


# ---------------------------------------------------------------- matrix product
def gemm(p, arrays, device):
    n = p["n"]
    a, b, c = read(arrays, "a", device).view(n, n), read(arrays, "b", device).view(n, n), torch.empty(n, n, device=device)
    return [Variant("torch.mm", "", simple(lambda: torch.mm(a, b, out=c).view(-1), ("c",)))], []
