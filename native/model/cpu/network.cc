#include "model/cpu/network.h"

#include <cstring>
#include <unordered_map>

#include "model/layers/bias/bias.h"
#include "runtime/cpu/gemm.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace {

// The rows of some queries; one may come more than once.
void Gather(const float* hidden, int64_t width, int64_t n, const int32_t* queries, float* rows) {
  ParallelRows(n, 256, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      std::memcpy(rows + t * width, hidden + queries[t] * width, static_cast<size_t>(width) * sizeof(float));
  });
}

// The sums of those rows' gradients, for all queries.
void Scatter(const float* d_rows, int64_t width, int64_t n, const int32_t* which, int64_t queries, float* d_hidden) {
  std::memset(d_hidden, 0, static_cast<size_t>(queries * width) * sizeof(float));
  for (int64_t t = 0; t < n; ++t) AddColumnSumsCpu(1, width, d_rows + t * width, width, d_hidden + which[t] * width);
}

}  // namespace

Status CpuNetwork::Read(Arena arena, int64_t first, int64_t n, DType type, void* out) {
  arenas_.Read(arena, first, n, type, out);
  return Ok();
}

Status CpuNetwork::Write(Arena arena, int64_t first, int64_t n, const float* values) {
  arenas_.Write(arena, first, n, values);
  return Ok();
}

Status CpuNetwork::Load(Arena arena, int64_t first, int64_t n, int fd, int64_t offset, DType type) {
  return arenas_.Load(arena, first, n, fd, offset, type);
}

Status CpuNetwork::Clone(std::unique_ptr<Network>* copy) {
  auto made = std::make_unique<CpuNetwork>(config, dtype);
  made->arenas_.CopyValues(arenas_);
  *copy = std::move(made);
  return Ok();
}

Status CpuNetwork::Forward(const PackedBatch& batch, Keep keep) {
  batch_ = batch;
  keep_ = keep;
  hidden_ = transformer_.Forward(arenas_.weights(), batch, keep);
  return Ok();
}

// Gathers the hidden states of the tokens. `sequences` of a loss; 0 without one.
LinearLogprobArgs CpuNetwork::HeadOf(const ScoredTokens& tokens, int64_t sequences, float* logprob, float* entropy) {
  head_.Each(config, tokens.count, batch_.queries, keep_ != Keep::kNothing, kReserve);
  Gather(hidden_, config.hidden, tokens.count, tokens.queries, head_.rows.data());
  const Operand head = InPlace(arenas_.weights(), layout.head);
  LinearLogprobArgs args{};
  args.tokens = tokens.count;
  args.width = config.hidden;
  args.vocab = config.vocab;
  args.hidden = head_.rows.data();
  args.head = head.bf16 ? static_cast<const void*>(head.bf16) : head.f32;
  args.bf16_head = head.bf16 != nullptr;
  args.targets = tokens.targets;
  args.temperature = tokens.temperature;
  args.logprob = logprob;
  args.entropy = entropy;
  args.chunk = HeadBuffers::Chunk(config);
  args.workspace = head_.workspace.Reserve(HeadBuffers::WorkspaceFloats(config, tokens.count, sequences));
  return args;
}

Status CpuNetwork::Score(const ScoredTokens& tokens, float* logprob, float* entropy, int32_t* top1) {
  LinearLogprobArgs args = HeadOf(tokens, 0, logprob, entropy);
  args.top1 = top1;
  return LinearLogprobCpu(args);
}

Status CpuNetwork::States(int64_t n, const int32_t* queries, float* states) {
  Gather(hidden_, config.hidden, n, queries, states);
  return Ok();
}

Status CpuNetwork::Logits(float* logits) {
  const Operand head = InPlace(arenas_.weights(), layout.head);
  GemmCpu({batch_.queries, config.vocab, config.hidden, hidden_, config.hidden, 1, head.f32, 1, config.hidden, logits,
           config.vocab, false, nullptr, head.bf16});
  return Ok();
}

Status CpuNetwork::Loss(const ScoredTokens& tokens, const LossBatch& batch, const LossParams& params, LossSums* sums,
                        int32_t* top1) {
  LinearPolicyLossArgs args{};
  args.linear = HeadOf(tokens, batch.sequences, nullptr, nullptr);
  args.linear.logprob = head_.logprob.data();
  args.linear.entropy = head_.entropy.data();
  args.linear.top1 = top1;
  args.batch = batch;
  args.params = params;
  args.d_hidden = head_.d_rows.data();
  args.d_head = arenas_.gradients() + layout.head;
  args.add_to_head = true;
  args.sums = sums;
  PRL_RETURN_IF_ERROR(LinearPolicyLossCpu(args));
  return SetStateGradients(tokens.count, tokens.queries, head_.d_rows.data());
}

Status CpuNetwork::SetStateGradients(int64_t n, const int32_t* queries, const float* d_states) {
  float* d_hidden = head_.rows.Reserve(batch_.queries * config.hidden);
  Scatter(d_states, config.hidden, n, queries, batch_.queries, d_hidden);
  return Ok();
}

Status CpuNetwork::Backward() {
  transformer_.Backward(arenas_.weights(), batch_, head_.rows.data(), arenas_.gradients());
  return Ok();
}

Status CpuNetwork::ClearGradients() {
  arenas_.ClearGradients();
  return Ok();
}

Status CpuNetwork::SumSquares(double* sum) {
  *sum = arenas_.SumSquares();
  return Ok();
}

Status CpuNetwork::Step(const AdamWStep& matrices, const AdamWStep& vectors, bool* applied) {
  *applied = arenas_.Step(matrices, vectors);
  return Ok();
}

Status CpuNetwork::BeginDecode(const DecodePlan& plan, int64_t* slots) {
  *slots = decoder_.Begin(arenas_.weights(), plan);
  return Ok();
}

Status CpuNetwork::Prefill(const PackedBatch& prompts) {
  decoder_.Prefill(arenas_.weights(), prompts);
  return Ok();
}

Status CpuNetwork::Start(int64_t n, const SlotStart* starts, SampledToken* tokens) {
  decoder_.Start(n, starts, tokens);
  return Ok();
}

Status CpuNetwork::Decode(int64_t n, const int64_t* slots, SampledToken* tokens) {
  decoder_.Decode(arenas_.weights(), n, slots, tokens);
  return Ok();
}

}  // namespace prl
