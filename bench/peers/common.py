"""Shared by the cases of the peers."""
import numpy
import torch


class Variant:
    """One way to compute a case. `make()` returns two functions: run(), which is timed, and outputs(), which computes the
    same again and returns {name: tensor} for the comparison. `prepare()` restores, untimed, what run() overwrites."""

    def __init__(self, family, formulation, make, prepare=None, yardstick=False):
        self.family, self.name = family, f"{family}: {formulation}" if formulation else family
        self.make, self.prepare, self.yardstick = make, prepare or (lambda: None), yardstick


class Missing(Exception):
    """A package that a variant needs is not installed."""


def read(arrays, name, device="cpu"):
    """An input that the harness wrote."""
    entry = arrays[name]
    return torch.from_numpy(numpy.fromfile(entry["file"], dtype=entry["dtype"])).to(device)


def repeated(pattern, shape, dtype):
    """The harness's rule for large inputs: element i is the pattern's element i modulo its length, rounded to dtype."""
    size = 1
    for n in shape:
        size *= n
    period = pattern.to(dtype)
    return period.repeat(-(-size // len(period)))[:size].view(shape)


def simple(function, names):
    """make() of a function whose result, or results, are the outputs."""
    def outputs():
        result = function()
        return dict(zip(names, result if isinstance(result, tuple) else (result,)))
    return lambda: (function, outputs)


def without_grad(make):
    """The same make(), with autograd off while it compiles and while it runs."""
    def wrapped():
        with torch.no_grad():
            run, outputs = make()
        return torch.no_grad()(run), torch.no_grad()(outputs)
    return wrapped
