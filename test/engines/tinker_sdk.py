"""A training script as a user of Thinking Machines' SDK writes it. It knows nothing of the server, and runs with
SDK 0.19 and 0.38 alike. tinker-sdk.mjs runs it against `prl serve --tinker` and checks the numbers that it writes.

    python tinker_sdk.py URL BASE_MODEL RESULT_FILE
"""
import json
import sys

import tinker
from tinker import types

url, base_model, result_file = sys.argv[1:]
result = {"sdk": tinker.__version__}

service = tinker.ServiceClient(base_url=url, api_key="tml-test")
names = [model.model_name for model in service.get_server_capabilities().supported_models]
assert names == [base_model], names
trainer = service.create_lora_training_client(base_model=base_model, rank=8)
info = trainer.get_info()
result["info"] = {"is_lora": info.is_lora, "model_name": info.model_data.model_name}
tokenizer = trainer.get_tokenizer()


def datum(prompt, completion, **inputs):
    """The input is everything but the last token, the targets are everything but the first."""
    ids = prompt + completion
    n = len(prompt) - 1
    tensors = {name: types.TensorData(data=[0.0] * n + values, dtype="float32", shape=[n + len(values)])
               for name, values in inputs.items()}
    targets = types.TensorData(data=ids[1:], dtype="int64", shape=[len(ids) - 1])
    return types.Datum(model_input=types.ModelInput.from_ints(ids[:-1]),
                       loss_fn_inputs={"target_tokens": targets, **tensors})


# Supervised: sums of two numbers.
pairs = [(f"{a}+{b}=", f"{a + b}") for a in range(1, 5) for b in range(1, 5)]
examples = [(tokenizer.encode(prompt), tokenizer.encode(answer)) for prompt, answer in pairs]
data = [datum(prompt, answer, weights=[1.0] * len(answer)) for prompt, answer in examples]
result["examples"] = examples
result["losses"] = []
for step in range(12):
    forward_backward = trainer.forward_backward(data, "cross_entropy")
    optim_step = trainer.optim_step(types.AdamParams(learning_rate=0.01))
    result["losses"].append(forward_backward.result().metrics["loss:sum"])
    optim_step.result()

# Reinforcement learning: samples with their log-probabilities come back as data.
params = types.SamplingParams(max_tokens=6, temperature=1.0, seed=7)
result["policy_losses"] = {}
for loss_fn, config in [("importance_sampling", None), ("ppo", {"clip_low_threshold": 0.8, "clip_high_threshold": 1.28}),
                        ("cispo", None)]:
    sampler = trainer.save_weights_and_get_sampling_client()
    futures = [sampler.sample(prompt=types.ModelInput.from_ints(prompt), num_samples=2, sampling_params=params)
               for prompt, _ in examples[:4]]
    rollout = []
    for (prompt, _), future in zip(examples, futures):
        for i, sequence in enumerate(future.result().sequences):
            n = len(sequence.tokens)
            rollout.append((prompt, list(sequence.tokens), list(sequence.logprobs), [1.0 if i == 0 else -1.0] * n))
    batch = [datum(prompt, tokens, logprobs=logprobs, advantages=advantages)
             for prompt, tokens, logprobs, advantages in rollout]
    output = trainer.forward_backward(batch, loss_fn, loss_fn_config=config).result()
    trainer.optim_step(types.AdamParams(learning_rate=0.001)).result()
    apart = max(abs(now - then)
                for (_, _, logprobs, _), out in zip(rollout, output.loss_fn_outputs)
                for now, then in zip(out["logprobs"].data[-len(logprobs):], logprobs))
    result["policy_losses"][loss_fn] = {
        "loss": output.metrics["loss:sum"], "apart": apart,
        "expected": -sum(sum(a * (l if loss_fn == "cispo" else 1) for a, l in zip(advantages, logprobs))
                         for _, _, logprobs, advantages in rollout)}

# Save, load, continue: the same losses as without.
path = trainer.save_state("half-way").result().path
result["path"] = path


def three_steps(client):
    losses = []
    for _ in range(3):
        output = client.forward_backward(data, "cross_entropy")
        step = client.optim_step(types.AdamParams(learning_rate=0.01))
        losses.append(output.result().metrics["loss:sum"])
        step.result()
    return losses


result["continued"] = three_steps(trainer)
result["resumed"] = three_steps(service.create_training_client_from_state_with_optimizer(path))
result["without_optimizer"] = three_steps(service.create_training_client_from_state(path))

# Sampling and scoring from saved weights, and from the base model.
saved = trainer.save_weights_for_sampler("last").result().path
greedy = types.SamplingParams(max_tokens=4, temperature=0.0, stop=["="])
prompt = types.ModelInput.from_ints(examples[5][0])
for name, client in [("saved", service.create_sampling_client(model_path=saved)),
                     ("base", service.create_sampling_client(base_model=base_model))]:
    sampled = client.sample(prompt=prompt, num_samples=1, sampling_params=greedy, include_prompt_logprobs=True,
                            topk_prompt_logprobs=2).result()
    result[name] = {
        "path": saved,
        "tokens": list(sampled.sequences[0].tokens),
        "stop_reason": sampled.sequences[0].stop_reason,
        "prompt_logprobs": list(sampled.prompt_logprobs),
        "scored": list(client.compute_logprobs(prompt).result()),
        "top": [[id for id, _ in each] if each else None for each in sampled.topk_prompt_logprobs],
    }

# A mistake of the user is an error that says what is wrong.
wrong = types.Datum(model_input=types.ModelInput.from_ints([1, 2]),
                    loss_fn_inputs={"target_tokens": types.TensorData(data=[5, 6], dtype="int64", shape=[2])})
try:
    trainer.forward_backward([wrong], "cross_entropy").result()
except tinker.RequestFailedError as error:
    result["error"] = {"message": str(error), "category": error.category.value}

with open(result_file, "w") as file:
    json.dump(result, file)
