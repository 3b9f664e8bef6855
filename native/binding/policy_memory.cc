// What a policy takes of memory, before it is made.
#include "binding/policy.h"
#include "binding/register.h"
#include "model/network.h"

namespace prl {
namespace {

// Bytes of each part, for a config and { bfloat16, training, gradientCheckpointing, microBatchTokens, maxBatch,
// promptTokens, maxNewTokens }.
Napi::Value Memory(const Napi::CallbackInfo& info) {
  const Args args(info);
  const int64_t most = (int64_t{1} << 31) - 1;
  MemorySettings settings{};
  settings.dtype = args.Boolean("bfloat16") ? DType::kBFloat16 : DType::kFloat32;
  settings.training = args.Boolean("training");
  settings.recompute = args.Boolean("gradientCheckpointing");
  settings.micro_batch_tokens = args.Integer("microBatchTokens", 0, most);
  settings.slots = args.Integer("maxBatch", 0, most);
  settings.prompt_tokens = args.Integer("promptTokens", 0, most);
  settings.new_tokens = args.Integer("maxNewTokens", 0, most);
  const MemoryNeeds needs = NetworkMemory(ParseConfig(args), settings);
  Napi::Object result = Napi::Object::New(args.env());
  result.Set("weights", needs.weights);
  result.Set("gradients", needs.gradients);
  result.Set("optimizer", needs.optimizer);
  result.Set("activations", needs.activations);
  result.Set("kvCache", needs.kv_cache);
  result.Set("logits", needs.logits);
  result.Set("scratch", needs.scratch);
  return result;
}

}  // namespace

void RegisterPolicyMemory(Napi::Env env, Napi::Object exports) { Export(env, exports, "policyMemory", Memory); }

}  // namespace prl
