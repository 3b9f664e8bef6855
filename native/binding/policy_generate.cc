// Generation with the native policy.
#include <chrono>
#include <cstring>

#include "binding/loss_args.h"
#include "binding/policy.h"
#include "binding/register.h"
#include "model/generate.h"

namespace prl {
namespace {

GenerateRequest ParseRequest(const Args& args, const ModelConfig& config) {
  GenerateRequest request;
  ReadIds(args, config, &request.ids, &request.cu_prompts);
  const int64_t prompts = static_cast<int64_t>(request.cu_prompts.size()) - 1;
  request.n = args.Integer("n", 1, 1 << 20);
  request.max_new_tokens = args.Integer("maxNewTokens", 1, config.max_positions);
  request.max_batch = args.Integer("maxBatch", 0, 1 << 20);
  request.most_batch = args.Integer("mostBatch", 1, 1 << 28);
  if (prompts * request.n > (int64_t{1} << 28))
    Throw(args.env(), Code::kOutOfRange, "more than 2^28 completions in one call");
  for (int64_t p = 0; p < prompts; ++p) {
    const int64_t length = request.cu_prompts[static_cast<size_t>(p) + 1] - request.cu_prompts[static_cast<size_t>(p)];
    if (length + request.max_new_tokens > config.max_positions) {
      Throw(args.env(), Code::kOutOfRange,
            "prompt %lld (%lld tokens) and maxNewTokens (%lld) exceed max_position_embeddings, %lld", (long long)p,
            (long long)length, (long long)request.max_new_tokens, (long long)config.max_positions);
    }
  }
  const double top_p = args.Number("topP");
  if (!(top_p > 0 && top_p <= 1))
    Throw(args.env(), Code::kOutOfRange, "topP must be above 0 and at most 1, not %g", top_p);
  const float temperature = args.Number("temperature") == 0 ? 0.0f : ReadTemperature(args);
  request.sampling = {temperature, static_cast<int32_t>(args.Integer("topK", 0, INT32_MAX)), static_cast<float>(top_p)};
  // A seed is two words, low first: JavaScript has no 64-bit integers in int32 arrays.
  const TensorArg seeds = args.Ints("seeds", 2 * prompts), streams = args.Ints("streams", prompts);
  for (int64_t p = 0; p < prompts; ++p) {
    const uint64_t low = static_cast<uint32_t>(seeds.i32()[2 * p]),
                   high = static_cast<uint32_t>(seeds.i32()[2 * p + 1]);
    request.keys.push_back(high << 32 | low);
    request.streams.push_back(static_cast<uint32_t>(streams.i32()[p]));
  }
  const TensorArg stop = args.Tensor("stop", {DType::kInt32});
  request.stop.assign(stop.i32(), stop.i32() + stop.elements);
  return request;
}

struct Told {
  GenerateProgress progress;
  std::shared_ptr<Policy> policy;
};

// `env` is null when the environment has ended before what was queued could be told. Of a worker thread that is
// terminated Node waits for our work before it tells anybody; but JavaScript cannot be called any more. That is how
// generation learns that nobody waits for it.
void Tell(Napi::Env env, Napi::Function function, void*, Told* queued) {
  const std::unique_ptr<Told> told(queued);
  if (static_cast<napi_env>(env) == nullptr) return;
  napi_value numbers[3], ignored;
  const int64_t counts[3] = {told->progress.finished, told->progress.total, told->progress.tokens};
  bool called = true;
  for (int i = 0; i < 3; ++i) called = called && napi_create_int64(env, counts[i], &numbers[i]) == napi_ok;
  called = called && napi_call_function(env, env.Undefined(), function, 3, numbers, &ignored) == napi_ok;
  if (!called) told->policy->cancelled = true;
}

// Calls a JavaScript function of (finished, total, tokens) from the working thread, a few times a second.
class Progress {
 public:
  Progress(Napi::Env env, Napi::Function function, std::shared_ptr<Policy> policy)
      : call_(Call::New(env, function, "prl-progress", 0, 1)), policy_(std::move(policy)) {}
  ~Progress() { call_.Release(); }

  void operator()(const GenerateProgress& progress) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    std::unique_ptr<Told> told(new Told{progress, policy_});
    if (call_.NonBlockingCall(told.get()) == napi_ok) (void)told.release();
  }

 private:
  using Call = Napi::TypedThreadSafeFunction<void, Told, Tell>;
  Call call_;
  std::shared_ptr<Policy> policy_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// [{ tokens, logProbs, stopped }], completion `sample` of prompt p at p * n + sample.
Napi::Value Generate(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  struct State {
    GenerateRequest request;
    std::unique_ptr<Progress> progress;
    std::vector<GeneratedCompletion> completions;
  };
  auto state = std::make_shared<State>();
  state->request = ParseRequest(args, policy->config);
  const Napi::Value given = args.Value("onProgress");
  const auto nobody = [](const Napi::CallbackInfo&) {};
  const Napi::Function on_progress =
      given.IsFunction() ? given.As<Napi::Function>() : Napi::Function::New(args.env(), nobody);
  state->progress = std::make_unique<Progress>(args.env(), on_progress, policy);
  return RunOnPolicy(
      args,
      [state](Policy& p) {
        const auto tell = [&](const GenerateProgress& progress) { (*state->progress)(progress); };
        const Status status = p.Generate(state->request, tell, &state->completions);
        state->progress.reset();
        return status;
      },
      [state](Napi::Env env) {
        Napi::Array list = Napi::Array::New(env, state->completions.size());
        for (size_t i = 0; i < state->completions.size(); ++i) {
          Napi::HandleScope scope(env);
          const GeneratedCompletion& completion = state->completions[i];
          Napi::Object entry = Napi::Object::New(env);
          Napi::Int32Array tokens = Napi::Int32Array::New(env, completion.tokens.size());
          std::memcpy(tokens.Data(), completion.tokens.data(), completion.tokens.size() * sizeof(int32_t));
          entry.Set("tokens", tokens);
          entry.Set("logProbs", ToFloat32Array(env, completion.logprobs));
          entry.Set("stopped", completion.stopped);
          list.Set(static_cast<uint32_t>(i), entry);
        }
        return list;
      });
}

}  // namespace

void RegisterPolicyGenerate(Napi::Env env, Napi::Object exports) { Export(env, exports, "policyGenerate", Generate); }

}  // namespace prl
