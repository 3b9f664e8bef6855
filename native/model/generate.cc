#include "model/generate.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "model/layers/decode_attention/decode_attention.h"
#include "model/layers/rms_norm/rms_norm.h"
#include "runtime/cpu/gemm.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace {

// Weights up to this size are packed, stay in the shared cache, and threads take blocks of rows through the whole
// network on their own (one hand-over per token instead of a dozen per layer). Larger ones are read once per step by
// all threads together, from where they lie: a packed copy would cost as much memory again, and as much time as a step.
constexpr int64_t kCachedWeights = 4 << 20;  // parameters
// A cache of keys and values that is larger is given back at the end: training wants the memory.
constexpr int64_t kKeptCache = 16 << 20;  // floats
// Floats of keys and values per thread that a step should not exceed: they are all read for every token.
constexpr int64_t kCachedKeys = 1 << 20;
// How much is prefilled ahead of the completions that start.
constexpr int64_t kWindowTokens = 2048, kWindowPrompts = 64, kWindowLogits = 4 << 20;

}  // namespace

void Generator::TakeWeights(const Weights& weights) {
  const ModelConfig& c = config_;
  operands_.clear();
  if (layout_.count > kCachedWeights) {
    for (const LayerOffsets& layer : layout_.layers) operands_.push_back(LayerInPlace(layer, weights));
    head_ = InPlace(weights, layout_.head);
    return;
  }
  const int64_t floats = PackedLayerFloats(c, PackFor::kForward);
  float* into = packed_.Reserve(floats * c.layers);
  for (const LayerOffsets& layer : layout_.layers) {
    operands_.push_back(PackLayer(c, layer, weights, PackFor::kForward, into));
    into += floats;
  }
  float* packed_head = packed_head_.Reserve(PackedBSize(c.hidden, c.vocab));
  if (weights.bf16) {
    PackBBFloat16(c.hidden, c.vocab, weights.bf16 + layout_.head, 1, c.hidden, packed_head);
  } else {
    PackB(c.hidden, c.vocab, weights.f32 + layout_.head, 1, c.hidden, packed_head);
  }
  head_ = {packed_head, nullptr, nullptr};
}

SampleArgs Generator::SamplingOf(const GenerateRequest& request, const float* logits, int64_t completion,
                                 int64_t position) const {
  const size_t prompt = static_cast<size_t>(completion / request.n);
  const uint64_t stream = request.streams[prompt] << 32 | static_cast<uint64_t>(completion % request.n);
  return {logits, config_.vocab, request.sampling, request.keys[prompt], stream, static_cast<uint64_t>(position)};
}

void Generator::Prefill(const Weights& weights, const GenerateRequest& request, int64_t prompt) {
  const ModelConfig& c = config_;
  const int64_t prompts = static_cast<int64_t>(request.cu_prompts.size()) - 1;
  const int32_t first = request.cu_prompts[static_cast<size_t>(prompt)];
  int64_t end = prompt + 1;
  while (end < prompts && end - prompt < kWindowPrompts && (end - prompt + 1) * c.vocab <= kWindowLogits &&
         request.cu_prompts[static_cast<size_t>(end) + 1] - first <= kWindowTokens) {
    ++end;
  }
  const int64_t count = end - prompt;
  window_.begin = prompt;
  window_.end = end;
  window_.cu.assign(1, 0);
  std::vector<int32_t> last, offsets{0};
  for (int64_t p = prompt; p < end; ++p) {
    window_.cu.push_back(request.cu_prompts[static_cast<size_t>(p) + 1] - first);
    last.push_back(request.cu_prompts[static_cast<size_t>(p) + 1] - request.cu_prompts[static_cast<size_t>(p)] - 1);
    offsets.push_back(static_cast<int32_t>(p - prompt + 1));
  }
  const PackedBatch batch{window_.cu.back(), count,       count,          request.ids.data() + first,
                          window_.cu.data(), last.data(), offsets.data(), nullptr};
  const Transformer::KvSink sink = [&](int64_t layer, const float* kv) {
    const int64_t floats = batch.tokens * c.kv_width();
    std::memcpy(window_.kv[static_cast<size_t>(layer)]->Reserve(floats), kv,
                static_cast<size_t>(floats) * sizeof(float));
  };
  const float* hidden = transformer_.Forward(weights, batch, Transformer::Keep::kNothing, &sink);
  Product(count, c.hidden, c.vocab, hidden, head_, window_.logits.Reserve(count * c.vocab), false);
}

Status Generator::Accept(const GenerateRequest& request, Slot* slot, SampledToken sampled,
                         std::vector<GeneratedCompletion>* out, int64_t* finished) {
  if (sampled.token < 0) {
    return Error(Code::kNonFinite,
                 "the policy's logits hold a NaN or +inf (prompt %lld, token %lld): its weights have diverged",
                 (long long)(slot->completion / request.n),
                 (long long)(*out)[static_cast<size_t>(slot->completion)].tokens.size());
  }
  GeneratedCompletion& completion = (*out)[static_cast<size_t>(slot->completion)];
  completion.tokens.push_back(sampled.token);
  completion.logprobs.push_back(sampled.logprob);
  slot->token = sampled.token;
  completion.stopped = std::find(request.stop.begin(), request.stop.end(), sampled.token) != request.stop.end();
  if (completion.stopped || static_cast<int64_t>(completion.tokens.size()) == request.max_new_tokens) {
    slot->completion = -1;
    ++*finished;
  }
  return Ok();
}

// Fills free slots with the next completions: the prompt's keys and values are copied, the first token comes of its
// logits.
Status Generator::Start(const GenerateRequest& request, int64_t* next, std::vector<GeneratedCompletion>* out,
                        int64_t* finished) {
  const ModelConfig& c = config_;
  std::vector<int64_t> starting;
  for (size_t s = 0; s < slots_.size() && *next < static_cast<int64_t>(out->size()) && *next / request.n < window_.end;
       ++s) {
    if (slots_[s].completion >= 0) continue;
    slots_[s].completion = (*next)++;
    starting.push_back(static_cast<int64_t>(s));
  }
  sampled_.resize(starting.size());
  ParallelFor(static_cast<int64_t>(starting.size()), [&](int64_t i) {
    const int64_t s = starting[static_cast<size_t>(i)];
    Slot& slot = slots_[static_cast<size_t>(s)];
    const int64_t p = slot.completion / request.n - window_.begin;
    const int32_t row = window_.cu[static_cast<size_t>(p)];
    slot.length = window_.cu[static_cast<size_t>(p) + 1] - row;
    for (int64_t l = 0; l < c.layers; ++l) {
      StoreInCache(slot.length, 0, c.kv_heads, c.head_dim, capacity_,
                   window_.kv[static_cast<size_t>(l)]->data() + row * c.kv_width(), KeysOf(l, s), ValuesOf(l, s));
    }
    sampled_[static_cast<size_t>(i)] =
        SampleCpu(SamplingOf(request, window_.logits.data() + p * c.vocab, slot.completion, 0));
  });
  for (size_t i = 0; i < starting.size(); ++i) {
    PRL_RETURN_IF_ERROR(Accept(request, &slots_[static_cast<size_t>(starting[i])], sampled_[i], out, finished));
  }
  return Ok();
}

// One token of the active slots [begin, end), from its embedding to the next token.
void Generator::DecodeRows(const Weights& weights, const GenerateRequest& request,
                           const std::vector<GeneratedCompletion>& out, int64_t begin, int64_t end) {
  const ModelConfig& c = config_;
  const int64_t rows = end - begin;
  float *x = x_.data() + begin * c.hidden, *normed = normed_.data() + begin * c.hidden;
  float *q = q_.data() + begin * c.q_width(), *kv = kv_.data() + begin * c.kv_width(),
        *attended = attended_.data() + begin * c.q_width();
  for (int64_t i = begin; i < end; ++i) {
    const Slot& slot = slots_[static_cast<size_t>(active_[static_cast<size_t>(i)])];
    positions_.data()[i] = slot.length;
    lengths_.data()[i] = slot.length + 1;
    Embed(c, layout_, weights, 1, &slot.token, x_.data() + i * c.hidden);
  }
  for (int64_t l = 0; l < c.layers; ++l) {
    const LayerContext layer{c, layout_.layers[static_cast<size_t>(l)], weights.vectors,
                             operands_[static_cast<size_t>(l)], rope_};
    LayerInputRows(layer, rows, x, positions_.data() + begin, normed, q, nullptr, kv, nullptr);
    ParallelRows(rows, 4, [&](int64_t first, int64_t last) {
      for (int64_t i = begin + first; i < begin + last; ++i) {
        const int64_t s = active_[static_cast<size_t>(i)];
        keys_[static_cast<size_t>(i)] = KeysOf(l, s);
        values_[static_cast<size_t>(i)] = ValuesOf(l, s);
        StoreInCache(1, positions_.data()[i], c.kv_heads, c.head_dim, capacity_, kv_.data() + i * c.kv_width(),
                     KeysOf(l, s), ValuesOf(l, s));
      }
      DecodeAttentionCpu({last - first, c.heads, c.kv_heads, c.head_dim, capacity_, q + first * c.q_width(),
                          keys_.data() + begin + first, values_.data() + begin + first, lengths_.data() + begin + first,
                          attended + first * c.q_width()});
    });
    LayerOutputRows(layer, rows, attended, x, x, normed, gate_up_.data() + begin * 2 * c.intermediate,
                    activated_.data() + begin * c.intermediate, x);
  }
  RmsNormCpu({rows, c.hidden, x, c.hidden, weights.vectors + layout_.final_norm, c.norm_eps, normed, c.hidden});
  float* logits = logits_.data() + begin * c.vocab;
  Product(rows, c.hidden, c.vocab, normed, head_, logits, false);
  ParallelRows(rows, 4, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const int64_t completion = slots_[static_cast<size_t>(active_[static_cast<size_t>(begin + r)])].completion;
      const int64_t position = static_cast<int64_t>(out[static_cast<size_t>(completion)].tokens.size());
      sampled_[static_cast<size_t>(begin + r)] =
          SampleCpu(SamplingOf(request, logits + r * c.vocab, completion, position));
    }
  });
}

Status Generator::Run(const Weights& weights, const GenerateRequest& request, const std::atomic<bool>& cancel,
                      const std::function<void(const GenerateProgress&)>& progress,
                      std::vector<GeneratedCompletion>* completions) {
  const ModelConfig& c = config_;
  const int64_t prompts = static_cast<int64_t>(request.cu_prompts.size()) - 1, total = prompts * request.n;
  std::vector<GeneratedCompletion> out(static_cast<size_t>(total));
  if (total == 0) {
    completions->swap(out);
    return Ok();
  }
  int64_t longest = 0;
  for (size_t p = 0; p < static_cast<size_t>(prompts); ++p)
    longest = std::max<int64_t>(longest, request.cu_prompts[p + 1] - request.cu_prompts[p]);
  capacity_ = (longest + request.max_new_tokens + kCacheBlock - 1) / kCacheBlock * kCacheBlock;
  slot_floats_ = 2 * c.kv_heads * c.head_dim * capacity_;
  // Unless asked otherwise: as many as keep their keys and values near the processor, but enough for each thread.
  const int64_t near = kCachedKeys * NumThreads() / (c.layers * slot_floats_), least = 32 * NumThreads();
  const int64_t chosen = std::min(request.most_batch, std::max(least, std::min<int64_t>(near, 256)));
  const int64_t rows = std::min(total, request.max_batch > 0 ? request.max_batch : chosen);
  slots_.assign(static_cast<size_t>(rows), Slot{});
  int64_t cache_floats = 0;
  if (__builtin_mul_overflow(rows * c.layers, slot_floats_, &cache_floats)) throw std::bad_alloc();
  cache_.Reserve(cache_floats);
  const struct GiveBack {
    Buffer<float>& cache;
    bool large;
    ~GiveBack() {
      if (large) cache.Free();
    }
  } give_back{cache_, cache_floats > kKeptCache};
  rope_ = transformer_.rope().Get(c, capacity_);
  TakeWeights(weights);
  window_.begin = window_.end = 0;
  while (static_cast<int64_t>(window_.kv.size()) < c.layers) window_.kv.push_back(std::make_unique<Buffer<float>>());
  x_.Reserve(rows * c.hidden);
  normed_.Reserve(rows * c.hidden);
  q_.Reserve(rows * c.q_width());
  kv_.Reserve(rows * c.kv_width());
  attended_.Reserve(rows * c.q_width());
  gate_up_.Reserve(rows * 2 * c.intermediate);
  activated_.Reserve(rows * c.intermediate);
  logits_.Reserve(rows * c.vocab);
  positions_.Reserve(rows);
  lengths_.Reserve(rows);
  keys_.resize(static_cast<size_t>(rows));
  values_.resize(static_cast<size_t>(rows));

  int64_t next = 0, finished = 0, tokens = 0;
  while (finished < total) {
    if (cancel.load(std::memory_order_relaxed)) return Error(Code::kAborted, "generation was aborted");
    active_.clear();
    for (;;) {
      const int64_t before = next;
      if (next < total && next / request.n >= window_.end) Prefill(weights, request, next / request.n);
      PRL_RETURN_IF_ERROR(Start(request, &next, &out, &finished));
      tokens += next - before;
      if (next == before) break;  // no slot is free, or nothing waits
    }
    for (size_t s = 0; s < slots_.size(); ++s) {
      if (slots_[s].completion >= 0) active_.push_back(static_cast<int64_t>(s));
    }
    const int64_t count = static_cast<int64_t>(active_.size());
    sampled_.resize(static_cast<size_t>(count));
    const int64_t block =
        layout_.count <= kCachedWeights ? std::max<int64_t>(12, (count / (2 * NumThreads()) + 5) / 6 * 6) : count;
    ParallelRows(count, std::max<int64_t>(block, 1),
                 [&](int64_t begin, int64_t end) { DecodeRows(weights, request, out, begin, end); });
    for (int64_t i = 0; i < count; ++i) {
      Slot& slot = slots_[static_cast<size_t>(active_[static_cast<size_t>(i)])];
      ++slot.length;
      PRL_RETURN_IF_ERROR(Accept(request, &slot, sampled_[static_cast<size_t>(i)], &out, &finished));
    }
    tokens += count;
    progress({finished, total, tokens});
  }
  completions->swap(out);
  return Ok();
}

}  // namespace prl
