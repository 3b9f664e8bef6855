#include "kernels/token_logprob/token_logprob.h"
#include "kernels/token_logprob/token_logprob_row.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace PRL_ISA {
namespace {

void Write(const TokenLogprobArgs& args, int64_t r, RowResult result) {
  if (args.logprob) args.logprob[r] = result.logprob;
  if (args.entropy) args.entropy[r] = result.entropy;
  if (args.lse) args.lse[r] = result.lse;
  if (args.top1) args.top1[r] = result.top1;
}

template <typename T>
Status Forward(const TokenLogprobArgs& args) {
  const T* logits = static_cast<const T*>(args.logits);
  const float inv_temperature = 1.0f / args.temperature;
  int64_t first_bad = INT64_MAX;
  ParallelRows(args.rows, RowsPerTask(args.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (args.mask && args.mask[r] == 0) {
        Write(args, r, RowResult{});
        continue;
      }
      const T* row = logits + r * args.stride;
      const RowStats stats = StatsOfRow(row, args.vocab, inv_temperature);
      if (RowIsBad(stats)) {
        NoteBadRow(&first_bad, args.first_row + r, stats);
        continue;
      }
      Write(args, r, FinishRow(stats, ToFloat(row[args.targets[r]]), inv_temperature));
    }
  });
  return ReportBadRow(first_bad);
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
      if ((f.mask && f.mask[r] == 0) || (args.d_logprob[r] == 0.0f && d_entropy == 0.0f)) {
        memset(out, 0, (size_t)f.vocab * sizeof(T));
        continue;
      }
      const float target_logit = ToFloat(row[f.targets[r]]);
      RowWork work;
      const RowStats stats = StatsBeforeGradient(row, out, f.vocab, inv_temperature, d_entropy != 0.0f, &work);
      if (RowIsBad(stats)) {
        NoteBadRow(&first_bad, f.first_row + r, stats);
        continue;
      }
      const RowResult result = FinishRow(stats, target_logit, inv_temperature);
      GradientOfRow(row, out, f.vocab, f.targets[r], stats, result, args.d_logprob[r], d_entropy, inv_temperature,
                    work);
    }
  });
  return ReportBadRow(first_bad);
}

}  // namespace

Status TokenLogprobCpu(const TokenLogprobArgs& args) {
  PRL_RETURN_IF_ERROR(CheckTargets(args.targets, args.mask, args.rows, args.vocab));
  switch (args.dtype) {
    case DType::kFloat32: return Forward<float>(args);
    case DType::kBFloat16: return Forward<BFloat16>(args);
    case DType::kFloat16: return Forward<Float16>(args);
    default: return Error(Code::kInvalidArgument, "logits must be float32, bfloat16 or float16, not int32");
  }
}

Status TokenLogprobBackwardCpu(const TokenLogprobBackwardArgs& args) {
  PRL_RETURN_IF_ERROR(CheckTargets(args.forward.targets, args.forward.mask, args.forward.rows, args.forward.vocab));
  switch (args.forward.dtype) {
    case DType::kFloat32: return Backward<float>(args);
    case DType::kBFloat16: return Backward<BFloat16>(args);
    case DType::kFloat16: return Backward<Float16>(args);
    default: return Error(Code::kInvalidArgument, "logits must be float32, bfloat16 or float16, not int32");
  }
}

}  // namespace PRL_ISA
}  // namespace prl
