#include "model/cpu/decoder.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "model/layers/decode_attention/decode_attention.h"
#include "model/layers/rms_norm/rms_norm.h"
#include "runtime/cpu/gemm.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace {

// A cache of keys and values that is larger is given back at the end: training wants the memory.
constexpr int64_t kKeptCache = 16 << 20;  // floats
// Floats of keys and values per thread that a step should not exceed: they are all read for every token.
constexpr int64_t kCachedKeys = 1 << 20;
// A step of a large model reads every weight, however many sequences share it: as many as still make a step faster per
// token, unless their cache is larger than this (floats).
constexpr int64_t kSharing = 192, kSharedCache = 1 << 29;

}  // namespace

void CpuDecoder::TakeWeights(const Weights& weights) {
  const ModelConfig& c = config_;
  operands_.clear();
  if (!DecodeBuffers::Packs(layout_)) {
    for (const LayerOffsets& layer : layout_.layers) operands_.push_back(LayerInPlace(layer, weights));
    head_ = InPlace(weights, layout_.head);
    return;
  }
  float* into = buffers_.packed.data();
  for (const LayerOffsets& layer : layout_.layers) {
    operands_.push_back(PackLayer(c, layer, weights, PackFor::kForward, into));
    into += PackedLayerFloats(c, PackFor::kForward);
  }
  float* packed_head = buffers_.packed_head.data();
  if (weights.bf16) {
    PackBBFloat16(c.hidden, c.vocab, weights.bf16 + layout_.head, 1, c.hidden, packed_head);
  } else {
    PackB(c.hidden, c.vocab, weights.f32 + layout_.head, 1, c.hidden, packed_head);
  }
  head_ = {packed_head, nullptr, nullptr};
}

int64_t CpuDecoder::Begin(const Weights& weights, const DecodePlan& plan) {
  const ModelConfig& c = config_;
  sampling_ = plan.sampling;
  capacity_ = DecodeBuffers::Capacity(plan.prompt_tokens + plan.new_tokens);
  slot_floats_ = DecodeBuffers::SlotFloats(c, capacity_);
  // Unless asked otherwise: as many as keep their keys and values near the processor, but enough for each thread.
  const int64_t floats = c.layers * slot_floats_, least = 32 * NumThreads();
  const int64_t many = DecodeBuffers::Packs(layout_) ? std::min<int64_t>(kCachedKeys * NumThreads() / floats, 256)
                                                     : std::min(kSharedCache / floats, kSharing);
  const int64_t chosen = std::min(plan.most_batch, std::max(least, many));
  const int64_t slots = std::min(plan.completions, plan.max_batch > 0 ? plan.max_batch : chosen);
  slots_.assign(static_cast<size_t>(slots), Slot{});
  int64_t cache_floats = 0;
  if (__builtin_mul_overflow(slots * c.layers, slot_floats_, &cache_floats)) throw std::bad_alloc();
  large_ = cache_floats > kKeptCache;
  buffers_.cache.Reserve(cache_floats);
  buffers_.EachOfSlots(c, layout_, slots, kReserve);
  buffers_.logits.Reserve(slots * c.vocab);
  keys_.resize(static_cast<size_t>(slots));
  values_.resize(static_cast<size_t>(slots));
  rope_ = transformer_.rope().Get(c, capacity_);
  TakeWeights(weights);
  return slots;
}

void CpuDecoder::End() {
  if (large_) buffers_.cache.Free();
}

void CpuDecoder::Prefill(const Weights& weights, const PackedBatch& prompts) {
  const ModelConfig& c = config_;
  cu_prompts_.assign(prompts.cu_seqlens, prompts.cu_seqlens + prompts.sequences + 1);
  buffers_.EachOfPrompts(c, prompts.tokens, kReserve);
  const Transformer::KvSink sink = [&](int64_t layer, const float* kv) {
    std::memcpy(At(&buffers_.prompt_kv, layer).data(), kv,
                static_cast<size_t>(prompts.tokens * c.kv_width()) * sizeof(float));
  };
  const float* hidden = transformer_.Forward(weights, prompts, Keep::kNothing, &sink);
  const int64_t n = prompts.queries;
  Product(n, c.hidden, c.vocab, hidden, head_, buffers_.prompt_logits.Reserve(n * c.vocab), false);
}

// The slot's next token, of these logits.
SampledToken CpuDecoder::Draw(Slot* slot, const float* logits) {
  const SampledToken sampled = SampleCpu({logits, config_.vocab, sampling_, slot->key, slot->stream, slot->drawn++});
  slot->token = sampled.token;
  return sampled;
}

// The prompts' keys and values are copied; the first tokens come of their logits.
void CpuDecoder::Start(int64_t n, const SlotStart* starts, SampledToken* tokens) {
  const ModelConfig& c = config_;
  ParallelFor(n, [&](int64_t i) {
    const SlotStart& start = starts[i];
    Slot& slot = slots_[static_cast<size_t>(start.slot)];
    const int32_t *cu = cu_prompts_.data() + start.prompt, row = cu[0];
    slot = {cu[1] - row, 0, start.key, start.stream, 0};
    for (int64_t l = 0; l < c.layers; ++l) {
      StoreInCache(slot.length, 0, c.kv_heads, c.head_dim, capacity_,
                   At(&buffers_.prompt_kv, l).data() + row * c.kv_width(), KeysOf(l, start.slot),
                   ValuesOf(l, start.slot));
    }
    tokens[i] = Draw(&slot, buffers_.prompt_logits.data() + start.prompt * c.vocab);
  });
}

// One token of slots[begin, end), from its embedding to the next token.
void CpuDecoder::DecodeRows(const Weights& weights, int64_t begin, int64_t end, const int64_t* slots,
                            SampledToken* tokens) {
  const ModelConfig& c = config_;
  DecodeBuffers& b = buffers_;
  const int64_t rows = end - begin;
  const auto slot_of = [&](int64_t i) -> Slot& { return slots_[static_cast<size_t>(slots[i])]; };
  float *x = b.x.data() + begin * c.hidden, *normed = b.normed.data() + begin * c.hidden;
  float *q = b.q.data() + begin * c.q_width(), *attended = b.attended.data() + begin * c.q_width();
  float* kv = b.kv.data() + begin * c.kv_width();
  int32_t *positions = b.positions.data(), *lengths = b.lengths.data();
  for (int64_t i = begin; i < end; ++i) {
    positions[i] = slot_of(i).length++;
    lengths[i] = slot_of(i).length;
    Embed(c, layout_, weights, 1, &slot_of(i).token, b.x.data() + i * c.hidden);
  }
  for (int64_t l = 0; l < c.layers; ++l) {
    const LayerContext layer{c, layout_.layers[static_cast<size_t>(l)], weights.vectors,
                             operands_[static_cast<size_t>(l)], rope_};
    LayerInputRows(layer, rows, x, positions + begin, normed, q, nullptr, kv, nullptr);
    ParallelRows(rows, 4, [&](int64_t first, int64_t last) {
      for (int64_t i = begin + first; i < begin + last; ++i) {
        float *keys = KeysOf(l, slots[i]), *values = ValuesOf(l, slots[i]);
        keys_[static_cast<size_t>(i)] = keys;
        values_[static_cast<size_t>(i)] = values;
        StoreInCache(1, positions[i], c.kv_heads, c.head_dim, capacity_, b.kv.data() + i * c.kv_width(), keys, values);
      }
      DecodeAttentionCpu({last - first, c.heads, c.kv_heads, c.head_dim, capacity_, q + first * c.q_width(),
                          keys_.data() + begin + first, values_.data() + begin + first, lengths + begin + first,
                          attended + first * c.q_width()});
    });
    LayerOutputRows(layer, rows, attended, x, x, normed, b.gate_up.data() + begin * 2 * c.intermediate,
                    b.activated.data() + begin * c.intermediate, x);
  }
  RmsNormCpu({rows, c.hidden, x, c.hidden, weights.vectors + layout_.final_norm, c.norm_eps, normed, c.hidden});
  float* logits = b.logits.data() + begin * c.vocab;
  Product(rows, c.hidden, c.vocab, normed, head_, logits, false);
  ParallelRows(rows, 4, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) tokens[begin + r] = Draw(&slot_of(begin + r), logits + r * c.vocab);
  });
}

void CpuDecoder::Decode(const Weights& weights, int64_t n, const int64_t* slots, SampledToken* tokens) {
  const bool cached = DecodeBuffers::Packs(layout_);
  const int64_t block = cached ? std::max<int64_t>(12, (n / (2 * NumThreads()) + 5) / 6 * 6) : n;
  ParallelRows(n, std::max<int64_t>(block, 1),
               [&](int64_t begin, int64_t end) { DecodeRows(weights, begin, end, slots, tokens); });
}

}  // namespace prl
