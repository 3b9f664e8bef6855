#include "kernels/token_logprob/token_logprob.h"
#include "kernels/token_logprob/token_logprob_row.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace PRL_ISA {
namespace {

// A piece of work is at least about 256 kB of logits, so that short rows are not handed out one by one.
int64_t RowsPerTask(int64_t vocab) {
  const int64_t rows = 65536 / (vocab > 0 ? vocab : 1);
  return rows < 1 ? 1 : rows;
}

// The smallest bad row that any thread saw, as 2 * row + all_masked.
void NoteBadRow(int64_t* first_bad, int64_t row, RowStats stats) {
  const int64_t mine = 2 * row + (RowIsAllMasked(stats) ? 1 : 0);
  int64_t seen = __atomic_load_n(first_bad, __ATOMIC_RELAXED);
  while (mine < seen && !__atomic_compare_exchange_n(first_bad, &seen, mine, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

Status Report(int64_t first_bad) { return first_bad == INT64_MAX ? Ok() : BadRow(first_bad / 2, first_bad % 2 != 0); }

template <typename T>
Status Forward(const TokenLogprobArgs& args) {
  const T* logits = static_cast<const T*>(args.logits);
  const float inv_temperature = 1.0f / args.temperature;
  int64_t first_bad = INT64_MAX;
  ParallelRows(args.rows, RowsPerTask(args.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* row = logits + r * args.stride;
      const RowStats stats = StatsOfRow(row, args.vocab, inv_temperature);
      if (RowIsBad(stats)) {
        NoteBadRow(&first_bad, r, stats);
        continue;
      }
      const RowResult result = FinishRow(stats, ToFloat(row[args.targets[r]]), inv_temperature);
      if (args.logprob) args.logprob[r] = result.logprob;
      if (args.entropy) args.entropy[r] = result.entropy;
      if (args.lse) args.lse[r] = result.lse;
    }
  });
  return Report(first_bad);
}

template <typename T>
Status Backward(const TokenLogprobBackwardArgs& args) {
  const TokenLogprobArgs& f = args.forward;
  const T* logits = static_cast<const T*>(f.logits);
  T* d_logits = static_cast<T*>(args.d_logits);
  const float inv_temperature = 1.0f / f.temperature;
  int64_t first_bad = INT64_MAX;
  ParallelRows(f.rows, RowsPerTask(f.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* row = logits + r * f.stride;
      T* out = d_logits + r * f.stride;
      const float d_entropy = args.d_entropy ? args.d_entropy[r] : 0.0f;
      if (args.d_logprob[r] == 0.0f && d_entropy == 0.0f) {
        memset(out, 0, (size_t)f.vocab * sizeof(T));
        continue;
      }
      const RowStats stats = StatsOfRow(row, f.vocab, inv_temperature);
      if (RowIsBad(stats)) {
        NoteBadRow(&first_bad, r, stats);
        continue;
      }
      const RowResult result = FinishRow(stats, ToFloat(row[f.targets[r]]), inv_temperature);
      GradientOfRow(row, out, f.vocab, f.targets[r], stats, result, args.d_logprob[r], d_entropy, inv_temperature);
    }
  });
  return Report(first_bad);
}

}  // namespace

Status TokenLogprobCpu(const TokenLogprobArgs& args) {
  PRL_RETURN_IF_ERROR(CheckTargets(args.targets, args.rows, args.vocab));
  switch (args.dtype) {
    case DType::kFloat32: return Forward<float>(args);
    case DType::kBFloat16: return Forward<BFloat16>(args);
    case DType::kFloat16: return Forward<Float16>(args);
    default: return Error(Code::kInvalidArgument, "logits must be float32, bfloat16 or float16, not int32");
  }
}

Status TokenLogprobBackwardCpu(const TokenLogprobBackwardArgs& args) {
  PRL_RETURN_IF_ERROR(CheckTargets(args.forward.targets, args.forward.rows, args.forward.vocab));
  switch (args.forward.dtype) {
    case DType::kFloat32: return Backward<float>(args);
    case DType::kBFloat16: return Backward<BFloat16>(args);
    case DType::kFloat16: return Backward<Float16>(args);
    default: return Error(Code::kInvalidArgument, "logits must be float32, bfloat16 or float16, not int32");
  }
}

}  // namespace PRL_ISA
}  // namespace prl
