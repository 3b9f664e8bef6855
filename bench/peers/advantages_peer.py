"""Token advantages on padded [B, L] tensors, as PRL's published code (a fork of verl), verl and plain PyTorch compute them.

The published expressions, in our words (arXiv 2601.10201, its repository's trainer at commit 1ee49fa; algorithm in the paper):
outcome scores are normalised per group in Python loops over 0-d tensors and put on each response's last token; log-ratios old - ref
are masked and their suffix sums taken as total - prefix + own; score minus suffix / eta is kept at step ends only and spread
to the left up to the step end before it, with flip, a running maximum of indices and gather.
"""
from collections import defaultdict

import torch
from common import Variant, read, simple, without_grad


def advantages(p, arrays, device):
    lengths = read(arrays, "lengths", device).long()
    groups = read(arrays, "groupIds").tolist()
    rewards = read(arrays, "rewards", device)
    responses, longest = len(lengths), int(lengths.max())
    mask = (torch.arange(longest, device=device)[None] < lengths[:, None]).long()
    reward_tokens = torch.zeros(responses, longest, device=device)
    reward_tokens[torch.arange(responses, device=device), lengths - 1] = rewards
    uids = [f"prompt-{group}" for group in groups]
    kind = p["kind"]
    if kind == "grpo":
        per_response = lambda run: lambda: (run, lambda: {"advantages": run()[:, 0]})
        return [
            Variant("verl", "GRPO", without_grad(per_response(lambda: grpo_loops(reward_tokens, mask, uids, p["epsilon"])))),
            Variant("torch eager", "groups as rows", without_grad(
                simple(lambda: group_rows(rewards, p["epsilon"]), ("advantages",)))),
        ], []
    old, ref = (padded(read(arrays, name, device), mask) for name in ("oldLogProbs", "refLogProbs"))

    def packed(run):
        return run, lambda: {"advantages": run()[mask.bool()]}

    if kind == "prl":
        published = lambda: published_prl(reward_tokens, old, ref, mask, uids, p)
        vectorised = lambda rewards, old, ref, mask, lengths: vectorised_prl(rewards, old, ref, mask, lengths, p)
    else:
        published = None
        vectorised = lambda rewards, old, ref, mask, lengths: vectorised_frpo(rewards, old, ref, mask, p)
    args = (rewards, old, ref, mask, lengths)

    def compile_it():
        fast = torch.compile(vectorised, dynamic=False)
        return packed(lambda: fast(*args))
    variants = [
        Variant("torch eager", "no loops, suffix sums by flip and cumsum", without_grad(lambda: packed(lambda: vectorised(*args)))),
        Variant("torch.compile", "no loops, suffix sums by flip and cumsum", without_grad(compile_it)),
    ]
    if published:
        variants.insert(0, Variant("published PRL", "", without_grad(lambda: packed(published))))
    return variants, []


def padded(values, mask):
    result = torch.zeros(mask.shape, device=values.device)
    result[mask.bool()] = values
    return result


def group_loops(scores, uids, epsilon):
    """Scores normalised in their groups, one by one."""
    members = defaultdict(list)
    for i, uid in enumerate(uids):
        members[uid].append(scores[i])
    mean, deviation = {}, {}
    for uid, values in members.items():
        if len(values) == 1:
            mean[uid], deviation[uid] = torch.tensor(0.0), torch.tensor(1.0)
        else:
            stacked = torch.stack(values)
            mean[uid], deviation[uid] = torch.mean(stacked), torch.std(stacked)
    for i, uid in enumerate(uids):
        scores[i] = (scores[i] - mean[uid]) / (deviation[uid] + epsilon)
    return scores


def grpo_loops(reward_tokens, mask, uids, epsilon):
    return group_loops(reward_tokens.sum(-1), uids, epsilon)[:, None] * mask


def published_prl(reward_tokens, old, ref, mask, uids, p):
    responses, longest = mask.shape
    every = torch.arange(responses, device=mask.device)
    scores = group_loops(reward_tokens.sum(-1), uids, p["epsilon"])
    last = longest - 1 - mask.flip(1).argmax(1)
    filled = mask.sum(1) > 0
    at_last = torch.zeros_like(mask)
    at_last[every, last * filled] = filled.to(mask.dtype)
    reward = scores[:, None] * at_last

    difference = (old - ref) * mask
    suffix = difference.sum(-1, keepdim=True) - difference.cumsum(-1) + difference
    reward = reward.sum(-1, keepdim=True) * mask - suffix / p["eta"]

    ends = (torch.arange(1, longest + 1, device=mask.device) % p["step"] == 0).repeat(responses, 1) * mask
    ends[every, mask.sum(-1) - 1] = 1
    return fill_left(reward * ends * mask)


def fill_left(x):
    """Every 0 takes the next value to its right that is not 0."""
    reverse = x.flip(1)
    index = torch.arange(x.shape[1], device=x.device).expand_as(reverse)
    latest = torch.where(reverse != 0, index, -torch.ones_like(index)).cummax(1)[0]
    return torch.where(latest >= 0, reverse.gather(1, latest.clamp_min(0)), torch.zeros_like(reverse)).flip(1)


GROUP = 8  # the responses to a prompt are next to each other


def group_rows(rewards, epsilon):
    grouped = rewards.view(-1, GROUP)
    return ((grouped - grouped.mean(1, keepdim=True)) / (grouped.std(1, keepdim=True) + epsilon)).view(-1)


def vectorised_prl(rewards, old, ref, mask, lengths, p):
    suffix = ((old - ref) * mask).flip(1).cumsum(1).flip(1)
    step = torch.arange(mask.shape[1], device=mask.device)[None] // p["step"]
    end = torch.minimum((step + 1) * p["step"], lengths[:, None]) - 1
    return (group_rows(rewards, p["epsilon"])[:, None] - suffix.gather(1, end) / p["eta"]) * mask


def vectorised_frpo(rewards, old, ref, mask, p):
    suffix = ((old - ref) * mask).flip(1).cumsum(1).flip(1)
    return (group_rows(rewards, p["epsilon"])[:, None] - p["beta"] * suffix) * mask
