// A policy as JavaScript holds it, and background tasks on it.
#pragma once

#include <functional>
#include <memory>

#include "binding/args.h"
#include "model/policy.h"

namespace prl {

// One per JavaScript object, used on its thread alone. A task keeps the policy alive, so that dispose() need not wait.
struct PolicyHandle {
  std::shared_ptr<Policy> policy;  // null after dispose()
  bool busy = false;               // a task runs
  int64_t told = 0;                // bytes that the garbage collector knows to hang on the object
};

// A new JavaScript object for the policy that `make` makes.
Napi::Value WrapPolicy(Napi::Env env, const std::function<Status(std::shared_ptr<Policy>*)>& make);
// Changes an idle policy on this thread, in ways that take or give back memory.
void ChangePolicy(const Args& args, const std::function<Status(Policy&)>& change);
// Lets go of the policy; a task that runs is asked to end. Disposing twice is legal.
void DisposePolicy(const Args& args);

// The field `policy`, which must be an object that policyCreate or policyClone made and that was not disposed of.
PolicyHandle& PolicyOf(const Args& args);
// Its policy; no task may be running: else kBusy.
std::shared_ptr<Policy> IdlePolicyOf(const Args& args);

// Runs `work` off the event loop and returns a promise of what `result` then makes of it on the JavaScript thread. The
// handle is busy until it has ended. `work` must not touch JavaScript; what it needs it owns.
Napi::Value RunOnPolicy(const Args& args, std::function<Status(Policy&)> work,
                        std::function<Napi::Value(Napi::Env)> result);

ModelConfig ParseConfig(const Args& args);
// ids and cuSeqlens: token ids in the vocabulary, sequences of at least one token and at most max_positions.
void ReadIds(const Args& args, const ModelConfig& config, std::vector<int32_t>* ids, std::vector<int32_t>* cu_seqlens);

// Those, and start, temperature, microBatchTokens.
Sequences ParseSequences(const Args& args, const ModelConfig& config);
// learningRate, weightDecay, adamBeta1 ..., maxGradNorm?
OptimizerParams ParseOptimizer(const Args& args);
// Empty for an absent tensor.
std::vector<float> CopyFloats(const TensorArg& tensor);

// [{ name, shape }]
Napi::Value ParameterList(Napi::Env env, const std::vector<Parameter>& parameters);
// A new Float32Array with these values.
Napi::Value ToFloat32Array(Napi::Env env, const std::vector<float>& values);
Napi::Value ToInt32Array(Napi::Env env, const std::vector<int32_t>& values);

}  // namespace prl
