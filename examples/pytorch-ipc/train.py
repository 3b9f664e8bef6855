"""Trains a small PyTorch policy whose loss comes from prl-node, in another process, without a copy of the logits.

    python train.py [--steps 5] [--dtype float32|bfloat16] [--server COMMAND]

In each step the model computes logits on the GPU. A Node process (server.ts) opens their memory through CUDA IPC,
computes the loss, and overwrites the logits with d loss / d logits. PyTorch continues with logits.backward(gradient).
The first step compares loss and gradient with PyTorch's own autograd. The script prints one JSON line per step. It
exits with 1 if the comparison fails.

It needs PyTorch with CUDA and its default allocator. (One handle cannot share the memory of expandable_segments.)
"""

import argparse
import base64
import json
import shlex
import subprocess
import sys

import torch

EPSILON = 0.2  # the server's default


def share(tensor):
    """Shares the tensor's memory with another process: returns (request fields, release).

    _share_cuda_ returns (device, handle, storage bytes, storage offset in bytes, reference counter file,
    offset in it, event handle, whether to wait for it). The handle names the whole block of PyTorch's allocator.
    The offset is where the storage begins in it. See THPStorage_shareCuda in
    https://github.com/pytorch/pytorch/blob/v2.11.0/torch/csrc/StorageSharing.cpp
    """
    assert tensor.is_cuda and tensor.is_contiguous()
    storage = tensor.untyped_storage()
    device, handle, _, storage_offset, counter, counter_offset, *_ = storage._share_cuda_()
    offset = storage_offset + tensor.storage_offset() * tensor.element_size()

    def release():
        # PyTorch counts the processes that hold shared memory. It keeps the memory until each of them releases it. The
        # server does not know that counter, so this releases it for the server.
        torch.UntypedStorage._release_ipc_counter(counter, counter_offset, device=device)

    return {"handle": base64.b64encode(handle).decode(), "offset": offset}, release


class Server:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def loss_and_gradient(self, logits, batch):
        """Returns the loss. The gradient has then replaced the logits."""
        fields, release = share(logits)
        torch.cuda.synchronize()  # finish the logits before the other process reads them
        request = {"shape": list(logits.shape), "dtype": str(logits.dtype).removeprefix("torch."), **fields, **batch}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        release()
        if not line:
            raise RuntimeError(f"the server ended with {self.process.wait()}")
        said = json.loads(line)
        if "error" in said:
            raise RuntimeError(f"the server refused: {said['error']}")
        return said

    def close(self):
        self.process.stdin.close()
        return self.process.wait()


def reference_loss(logits, batch):
    """The same loss in PyTorch: clipped importance sampling, averaged over the tokens."""
    rows = torch.arange(len(batch["targets"]), device=logits.device)
    log_probs = torch.log_softmax(logits.float(), -1)[rows, torch.tensor(batch["targets"], device=logits.device)]
    ratio = (log_probs - torch.tensor(batch["oldLogProbs"], device=logits.device)).exp()
    advantages = torch.tensor(batch["advantages"], device=logits.device)
    clipped = ratio.clamp(1 - EPSILON, 1 + EPSILON)
    return -torch.minimum(ratio * advantages, clipped * advantages).mean()


def make_batch(model, inputs, vocab, lengths, generator):
    """Random tokens and advantages. The old policy differs slightly from the model, so that some tokens are clipped."""
    tokens = sum(lengths)
    targets = torch.randint(vocab, (tokens,), generator=generator)
    with torch.no_grad():
        log_probs = torch.log_softmax(model(inputs).float(), -1).cpu()[torch.arange(tokens), targets]
    old = log_probs + 0.3 * torch.randn(tokens, generator=generator)
    advantages = torch.randn(len(lengths), generator=generator).repeat_interleave(torch.tensor(lengths))
    cu_seqlens = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    return {
        "targets": targets.tolist(),
        "advantages": advantages.tolist(),
        "oldLogProbs": old.tolist(),
        "cuSeqlens": cu_seqlens,
    }


def compare(loss, gradient, expected_loss, expected):
    """Errors of loss and gradient, and whether they are within rounding."""
    loss_error = abs(loss - expected_loss) / max(1.0, abs(expected_loss))
    # Elements of a row are at most |coefficient|. The error is relative to the largest, plus one rounding to the type.
    unit = torch.finfo(gradient.dtype).eps
    scale = expected.float().abs().max().item()
    gradient_error = ((gradient.float() - expected.float()).abs().max() / scale).item()
    return loss_error, gradient_error, loss_error < 1e-4 and gradient_error < max(1e-4, 2 * unit)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--server", default="node --import tsx examples/pytorch-ipc/server.ts")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this example needs PyTorch with CUDA, and a GPU")

    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Embedding(1000, args.hidden), torch.nn.GELU(), torch.nn.Linear(args.hidden, args.vocab, bias=False)
    ).to("cuda", getattr(torch, args.dtype))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    lengths = [50, 1, 120, 85]
    inputs = torch.randint(1000, (sum(lengths),), generator=generator).cuda()
    batch = make_batch(model, inputs, args.vocab, lengths, generator)

    server = Server(shlex.split(args.server))
    ok = True
    for step in range(1, args.steps + 1):
        logits = model(inputs)
        if step == 1:
            copy = logits.detach().clone().requires_grad_()
            expected_loss = reference_loss(copy, batch)
            expected_loss.backward()
        values = logits.detach()  # the same memory, without history
        said = server.loss_and_gradient(values, batch)
        line = {"step": step, "loss": said["loss"], "clipped": said["metrics"]["clipRatioRegion"]}
        if step == 1:
            loss_error, gradient_error, ok = compare(said["loss"], values, expected_loss.item(), copy.grad)
            line |= {"loss_error": loss_error, "gradient_error": gradient_error, "agrees": ok}
        optimizer.zero_grad()
        logits.backward(gradient=values)  # a linear layer's backward does not read its output
        optimizer.step()
        print(json.dumps(line), flush=True)
    ended = server.close()
    sys.exit(0 if ok and ended == 0 else 1)


if __name__ == "__main__":
    main()
