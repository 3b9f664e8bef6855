"""Hugging Face's tokenizers, one text at a time: `texts` is JSON, `file` a tokenizer.json. See server.py."""
import json

import torch
from common import Variant

try:
    import tokenizers
except ImportError as error:
    tokenizers, reason = None, str(error)


def tokenizer_encode(p, arrays, device):
    if tokenizers is None:
        return [], [("tokenizers", reason)]
    tokenizer, texts = tokenizers.Tokenizer.from_file(p["file"]), json.loads(p["texts"])

    def run():
        return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]

    def outputs():
        # As numbers: the harness compares float32, which holds every id.
        return {"ids": torch.tensor([id for ids in run() for id in ids], dtype=torch.float32)}

    return [Variant("tokenizers", "", lambda: (run, outputs))], []
