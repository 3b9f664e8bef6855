// What the network takes of memory on the CPU: counted by the lists that its buffers are reserved by (buffers.h).
#include <algorithm>
#include <unordered_map>

#include "model/cpu/network.h"
#include "model/generate.h"

namespace prl {
namespace {

// Of the matrix products (runtime/cpu/gemm_cpu.cc), whatever the network: a slab of the right-hand side, pieces of the
// left one per thread.
constexpr double kScratchBytes = 12 << 20;

// For Each: the bytes of every buffer at its largest.
class Peak {
 public:
  template <typename T>
  void operator()(const Buffer<T>& buffer, int64_t elements) {
    double& most = most_[&buffer];
    most = std::max(most, static_cast<double>(elements) * sizeof(T));
  }
  double total() const {
    double sum = 0;
    for (const auto& [buffer, bytes] : most_) sum += bytes;
    return sum;
  }

 private:
  std::unordered_map<const void*, double> most_;
};

double Floats(double n) { return n * sizeof(float); }

}  // namespace

MemoryNeeds CpuNetwork::Memory(const ModelConfig& c, const MemorySettings& s) {
  const Layout arena(c);
  const CpuArenas::Bytes arenas = CpuArenas::BytesOf(arena, s.dtype);
  const bool narrow = s.dtype == DType::kBFloat16, generates = s.new_tokens > 0;
  const Keep keep = !s.training ? Keep::kNothing : s.recompute ? Keep::kInputs : Keep::kAll;
  PassBuffers pass;
  HeadBuffers head;
  DecodeBuffers decode;
  Peak peak;
  const auto count = [&](auto& buffer, int64_t elements) { peak(buffer, elements); };

  // At worst: nearly every token is a query, and every one a sequence.
  const int64_t tokens = s.micro_batch_tokens;
  pass.Each(c, {tokens, tokens, tokens, true, Transformer::ById(c, tokens), narrow, keep}, count);
  head.Each(c, tokens, tokens, s.training, count);
  int64_t positions = std::min(tokens, c.max_positions);
  MemoryNeeds needs{};
  needs.logits = Floats(static_cast<double>(HeadBuffers::WorkspaceFloats(c, tokens, s.training ? tokens : 0)));
  if (generates) {
    const int64_t capacity = DecodeBuffers::Capacity(s.prompt_tokens + s.new_tokens);
    const int64_t window = std::max(s.prompt_tokens, std::min(kWindowTokens, s.slots * s.prompt_tokens));
    const int64_t prompts = std::max<int64_t>(1, std::min({kWindowPrompts, kWindowLogits / c.vocab, s.slots}));
    pass.Each(c, {window, prompts, prompts, true, Transformer::ById(c, window), narrow, Keep::kNothing}, count);
    decode.EachOfPrompts(c, window, count);
    decode.EachOfSlots(c, arena, s.slots, count);
    needs.kv_cache = Floats(static_cast<double>(s.slots * c.layers) * DecodeBuffers::SlotFloats(c, capacity));
    needs.logits += Floats(static_cast<double>(s.slots + prompts) * c.vocab);
    positions = std::max(positions, capacity);
  }
  needs.weights = static_cast<double>(arenas.values);
  needs.gradients = s.training ? static_cast<double>(arenas.gradients) : 0;
  needs.optimizer = s.training ? static_cast<double>(arenas.optimizer) : 0;
  needs.activations = peak.total() + Floats(RopeTable::Floats(c, positions)) + static_cast<double>(arenas.vectors);
  needs.scratch = kScratchBytes;
  return needs;
}

}  // namespace prl
