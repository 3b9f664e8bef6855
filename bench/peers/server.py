"""The peers of `prl bench --peers PYTHON`: one process that answers requests. Each request and answer is a line of JSON.

Started as `PYTHON server.py --threads N --device cpu|cuda --scratch FOLDER`. It ends with its input. Its first line of output:
    {"versions": {"python": ..., "torch": ...}, "missing": [{"name": ..., "reason": ...}]}
Requests. Each answer also holds "cpuSeconds", the processor time of this process so far:
    {"op": "load", "kind", "parameters", "arrays": {name: {"file", "dtype"}}}
        -> {"variants": [{"name", "family"}], "rejected": [{"name", "reason"}]}
    {"op": "check", "variant"}   builds and runs it once
        -> {"outputs": {name: {"file", "dtype"}}, "yardstick": bool, "extraBytes": int} or {"error": ...}
           (files hold float32 with any dtype; a yardstick has no outputs and is not compared)
    {"op": "time", "variant"}    -> {"milliseconds": ...} or {"error": ...}
    {"op": "unload"}             -> {}
"""
import argparse
import gc
import importlib
import json
import os
import platform
import sys
import time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
    parser.add_argument("--scratch", required=True)
    options = parser.parse_args()
    # Compilers and libraries print: only answers may go to the real standard output.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer):
        cpu = os.times()
        answers.write(json.dumps({**answer, "cpuSeconds": cpu.user + cpu.system + cpu.children_user + cpu.children_system}) + "\n")
        answers.flush()

    try:
        import torch
    except ImportError as error:
        sys.exit(f"this python has no torch ({error}): pip install torch")
    torch.set_num_threads(options.threads)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__} sees no GPU")
    say(greeting(torch, options.device))
    server = Server(torch, options)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            say(getattr(server, question.pop("op"))(**question))
        except Exception as error:  # any failure of a peer is an answer about that peer
            say({"error": describe(error)})


def greeting(torch, device):
    versions, missing = {"python": platform.python_version(), "torch": torch.__version__}, []
    for package in ["trl"] + (["liger_kernel", "triton"] if device == "cuda" else []):
        try:
            versions[package] = getattr(importlib.import_module(package), "__version__", "unknown")
        except Exception as error:  # absent, or one of its own imports fails
            missing.append({"name": package, "reason": describe(error)})
    return {"versions": versions, "missing": missing}


def describe(error):
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


class Server:
    MODULES = {
        "token_logprob": "kernels_peer", "policy_loss": "kernels_peer", "linear_logprob": "kernels_peer",
        "clipped_loss": "kernels_peer", "gemm": "kernels_peer", "advantages": "advantages_peer",
        "policy_update": "policy_peer", "policy_logprobs": "policy_peer", "policy_generate": "policy_peer",
        "tokenizer_encode": "tokenizer_peer",
    }

    def __init__(self, torch, options):
        self.torch, self.device, self.scratch = torch, options.device, options.scratch
        self.variants, self.runs = {}, {}
        if self.device == "cuda":
            self.sweep = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")  # more than the second-level cache

    def load(self, kind, parameters, arrays):
        self.unload()
        self.torch._dynamo.config.recompile_limit = 64
        module = importlib.import_module(self.MODULES[kind])
        variants, missing = getattr(module, kind)(parameters, arrays, self.device)
        self.variants = {variant.name: variant for variant in variants}
        return {"variants": [{"name": v.name, "family": v.family} for v in variants],
                "rejected": [{"name": name, "reason": reason} for name, reason in missing]}

    def check(self, variant):
        chosen = self.variants[variant]
        run, outputs = chosen.make()
        chosen.prepare()
        found = {} if chosen.yardstick else outputs()
        files = {}
        for index, (name, tensor) in enumerate(found.items()):
            file = os.path.join(self.scratch, f"out-{index}")
            tensor.detach().float().cpu().contiguous().numpy().tofile(file)
            files[name] = {"file": file, "dtype": str(tensor.dtype).removeprefix("torch.")}
        del found
        self.runs[variant] = run
        return {"outputs": files, "yardstick": chosen.yardstick, "extraBytes": self.extra_bytes(chosen, run)}

    def extra_bytes(self, variant, run):
        """Peak memory of the tensors of a run, beyond what was in use."""
        variant.prepare()
        if self.device == "cpu":  # the size of the process says nothing: its allocator keeps what it once had
            with self.torch.profiler.profile(activities=[self.torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
                run()
            events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
            in_use = peak = 0
            for event in sorted(events, key=lambda e: e.start_ns()):
                in_use += event.nbytes()
                peak = max(peak, in_use)
            return peak
        self.torch.cuda.synchronize()
        self.torch.cuda.reset_peak_memory_stats()
        before = self.torch.cuda.memory_allocated()
        run()
        self.torch.cuda.synchronize()
        return self.torch.cuda.max_memory_allocated() - before

    def time(self, variant):
        self.variants[variant].prepare()
        run = self.runs[variant]
        if self.device == "cpu":
            begin = time.perf_counter()
            run()
            return {"milliseconds": 1e3 * (time.perf_counter() - begin)}
        cuda = self.torch.cuda
        start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        self.sweep.zero_()
        start.record()
        run()
        end.record()
        end.synchronize()
        return {"milliseconds": start.elapsed_time(end)}

    def unload(self):
        self.variants, self.runs = {}, {}
        self.torch._dynamo.reset()
        gc.collect()
        if self.device == "cuda":
            self.torch.cuda.empty_cache()
        return {}


if __name__ == "__main__":
    main()
