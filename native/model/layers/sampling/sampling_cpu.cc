#include "model/layers/sampling/sampling.h"

#include "kernels/token_logprob/token_logprob_row.h"
#include "runtime/cpu/scratch.h"
#include "runtime/philox.h"

namespace prl {
namespace PRL_ISA {
namespace {

constexpr int64_t kBlock = 512;

// Weights e^((logit - max) / temperature) of one block, and their sum.
float WeightsOfBlock(const float* logits, int64_t n, float max, float inv_temperature, float* weight) {
  VF sum{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const VF w = ExpNonPositive((Load(logits + i) - max) * inv_temperature);
    Store(weight + i, w);
    sum += w;
  }
  if (i < n) {
    const VF w = ExpNonPositive((LoadPartial(logits + i, (int)(n - i), -__builtin_inff()) - max) * inv_temperature);
    StorePartial(weight + i, (int)(n - i), w);
    sum += w;
  }
  return ReduceAdd(sum);
}

// Inversion, block by block: sums first, then the block that holds the mark.
int32_t Draw(const SampleArgs& args, float max, float inv_temperature, double u) {
  const int64_t blocks = (args.vocab + kBlock - 1) / kBlock;
  float weight[kBlock];
  float* sums = ThreadScratch(kScratchSampling, blocks);
  double total = 0.0;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t first = b * kBlock, n = args.vocab - first < kBlock ? args.vocab - first : kBlock;
    sums[b] = WeightsOfBlock(args.logits + first, n, max, inv_temperature, weight);
    total += (double)sums[b];
  }
  double mark = u * total;
  int64_t block = 0;
  while (block + 1 < blocks && !((double)sums[block] > mark)) mark -= (double)sums[block++];
  // Rounding may leave the mark at the end of the last block that has any weight: its last token with weight is then
  // meant.
  while (block > 0 && sums[block] == 0.0f) --block;
  const int64_t first = block * kBlock, n = args.vocab - first < kBlock ? args.vocab - first : kBlock;
  WeightsOfBlock(args.logits + first, n, max, inv_temperature, weight);
  int64_t last = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (weight[i] == 0.0f) continue;
    last = i;
    if ((double)weight[i] > mark) break;
    mark -= (double)weight[i];
  }
  return (int32_t)(first + last);
}

}  // namespace

SampledToken SampleCpu(const SampleArgs& args) {
  const bool greedy = args.params.temperature == 0.0f;
  const float inv_temperature = greedy ? 1.0f : 1.0f / args.params.temperature;
  const RowStats stats = StatsOfRow(args.logits, args.vocab, inv_temperature);
  if (RowIsBad(stats)) return {-1, 0.0f};
  int32_t token = 0;
  if (greedy) {
    while (args.logits[token] != stats.max) ++token;
  } else {
    // The counter: the token's place in its completion, and which completion it is.
    const Philox4 bits = Philox(args.key, args.stream, args.position);
    const double u = ((double)(((uint64_t)bits.word[0] << 21) ^ (bits.word[1] >> 11)) + 0.5) * 0x1p-53;
    if (args.params.top_k > 0 || args.params.top_p < 1.0f) {
      const Candidates kept = KeepLikeliest(args, stats.max, stats.sum);
      double mark = u * kept.total;
      int64_t i = 0;
      while (i + 1 < kept.count && !(kept.weight[i] > mark)) mark -= kept.weight[i++];
      token = kept.token[i];
    } else {
      token = Draw(args, stats.max, inv_temperature, u);
    }
  }
  return {token, FinishRow(stats, args.logits[token], inv_temperature).logprob};
}

}  // namespace PRL_ISA
}  // namespace prl
