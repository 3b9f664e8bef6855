// The host's part on the GPU: chunk by chunk, a product of cuBLAS, a sweep over the rows in place, two products.
#include "kernels/clipped_loss/clipped_loss_cuda.h"
#include "kernels/linear_logprob/linear_logprob.h"
#include "kernels/policy_loss/policy_loss_rows_cuda.h"
#include "kernels/token_logprob/token_logprob.h"
#include "runtime/cuda/cublas.h"

namespace prl {
namespace {

constexpr int kCopyThreads = 256;

struct Chunks {
  const char* name;  // what the user called
  LinearCudaLayout layout;
  void *logits, *hidden, *per_token;
  float* loss;
};
Chunks MakeChunks(const char* name, const LinearLogprobArgs& a, int64_t sequences, bool masked, const CudaCall& call) {
  const LinearCudaLayout layout = LayOutLinear(a, sequences, masked);
  char* const base = static_cast<char*>(call.workspace);
  return {name,
          layout,
          base + layout.logits,
          base + layout.hidden,
          base + layout.per_token,
          reinterpret_cast<float*>(base + layout.loss)};
}

// Rows [first, first + rows) for each chunk; stops at the first failure.
template <typename Body>
Status ForEachChunk(const LinearLogprobArgs& a, const Chunks& chunks, const Body& body) {
  for (int64_t first = 0; first < a.tokens; first += chunks.layout.rows) {
    PRL_RETURN_IF_ERROR(body(first, first + chunks.layout.rows < a.tokens ? chunks.layout.rows : a.tokens - first));
  }
  return Ok();
}

// Row `first` of a [tokens, width] matrix of the type of hidden.
template <typename Pointer>
Pointer RowOf(const LinearLogprobArgs& a, Pointer matrix, int64_t first) {
  return reinterpret_cast<Pointer>(reinterpret_cast<uintptr_t>(matrix) + (size_t)(first * a.width) * SizeOf(a.dtype));
}

// logits = hidden . head^T of `rows` tokens from `first` on.
Status MakeLogits(const LinearLogprobArgs& a, const Chunks& chunks, int64_t first, int64_t rows) {
  return GemmCuda(chunks.name, {rows, a.vocab, a.width, a.dtype, RowOf(a, a.hidden, first), a.width, false, a.head,
                                a.width, true, a.dtype, chunks.logits, chunks.layout.stride, false});
}

// A row as it is, or zeros for a masked token: its hidden state may hold anything, and 0 times NaN is NaN.
template <typename T>
__global__ void __launch_bounds__(kCopyThreads) CopyActiveRows(const T* from, const int32_t* mask, int64_t n, T* to) {
  const int64_t r = blockIdx.x;
  const bool active = mask[r] != 0;
  for (int64_t i = threadIdx.x; i < n; i += kCopyThreads) to[r * n + i] = active ? from[r * n + i] : T{};
}

Status CopyActive(const char* name, const LinearLogprobArgs& a, const int32_t* mask, int64_t first, int64_t rows,
                  void* to, const CudaCall& call) {
  const void* from = RowOf(a, a.hidden, first);
  const size_t row_bytes = (size_t)a.width * SizeOf(a.dtype);
  const auto copy = [&](auto unit) {
    using T = decltype(unit);
    return Launch(name, call.stream, {rows, kCopyThreads}, CopyActiveRows<T>, static_cast<const T*>(from), mask + first,
                  (int64_t)(row_bytes / sizeof(T)), static_cast<T*>(to));
  };
  if (row_bytes % 16 == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0) return copy(uint4{});
  return SizeOf(a.dtype) == 4 ? copy(uint32_t{}) : copy(uint16_t{});
}

// The gradient of `rows` tokens from `first` on, from that of their logits.
Status PushGradient(const LinearPolicyLossArgs& args, const Chunks& chunks, int64_t first, int64_t rows,
                    const CudaCall& call) {
  const LinearLogprobArgs& a = args.linear;
  const int64_t stride = chunks.layout.stride;
  const void* hidden = RowOf(a, a.hidden, first);
  if (args.batch.mask) {
    PRL_RETURN_IF_ERROR(CopyActive(chunks.name, a, args.batch.mask, first, rows, chunks.hidden, call));
    hidden = chunks.hidden;
  }
  PRL_RETURN_IF_ERROR(GemmCuda(chunks.name, {rows, a.width, a.vocab, a.dtype, chunks.logits, stride, false, a.head,
                                             a.width, false, a.dtype, RowOf(a, args.d_hidden, first), a.width, false}));
  // The first chunk writes d_head: nobody has to fill it with zeros and nobody reads them.
  return GemmCuda(chunks.name, {a.vocab, a.width, rows, a.dtype, chunks.logits, stride, true, hidden, a.width, false,
                                DType::kFloat32, args.d_head, a.width, args.add_to_head || first > 0});
}

TokenLogprobArgs RowsOf(const LinearLogprobArgs& a, const int32_t* mask, const Chunks& chunks, int64_t first,
                        int64_t rows) {
  return {rows,
          a.vocab,
          chunks.layout.stride,
          a.dtype,
          chunks.logits,
          a.targets + first,
          a.temperature,
          a.logprob + first,
          a.entropy ? a.entropy + first : nullptr,
          nullptr,
          mask ? mask + first : nullptr,
          first,
          a.top1 ? a.top1 + first : nullptr};
}

Status Logprobs(const LinearLogprobArgs& a, const int32_t* mask, const Chunks& chunks, const CudaCall& call) {
  return ForEachChunk(a, chunks, [&](int64_t first, int64_t rows) {
    PRL_RETURN_IF_ERROR(MakeLogits(a, chunks, first, rows));
    return TokenLogprobCuda(RowsOf(a, mask, chunks, first, rows), call);
  });
}

Status OneSweep(const LinearPolicyLossArgs& args, const LossParams& params, const Chunks& chunks,
                const CudaCall& call) {
  const LinearLogprobArgs& a = args.linear;
  TokenLine* const lines = static_cast<TokenLine*>(chunks.per_token);
  PRL_RETURN_IF_ERROR(PrepareLossRows(args.batch, params, a.targets, lines, call));
  const LossRows rows_of_loss{params,
                              args.batch.old_logprob != nullptr,
                              args.batch.ref_logprob != nullptr,
                              lines,
                              a.logprob,
                              a.entropy,
                              nullptr,
                              nullptr,
                              a.temperature,
                              a.vocab,
                              chunks.layout.stride,
                              a.dtype,
                              a.top1};
  PRL_RETURN_IF_ERROR(ForEachChunk(a, chunks, [&](int64_t first, int64_t rows) {
    PRL_RETURN_IF_ERROR(MakeLogits(a, chunks, first, rows));
    PRL_RETURN_IF_ERROR(SweepRowsCuda(rows_of_loss, first, rows, chunks.logits, chunks.logits, call));
    return PushGradient(args, chunks, first, rows, call);
  }));
  return ClippedLossCounted({args.batch, params, a.logprob, a.entropy, chunks.loss, nullptr, nullptr, nullptr}, call);
}

Status TwoSweeps(const LinearPolicyLossArgs& args, const LossParams& params, const Chunks& chunks,
                 const CudaCall& call) {
  const LinearLogprobArgs& a = args.linear;
  float* const d_logprob = static_cast<float*>(chunks.per_token);
  float* const d_entropy = d_logprob + a.tokens;
  PRL_RETURN_IF_ERROR(Logprobs(a, args.batch.mask, chunks, call));
  PRL_RETURN_IF_ERROR(
      ClippedLossCounted({args.batch, params, a.logprob, a.entropy, chunks.loss, d_logprob, d_entropy, nullptr}, call));
  return ForEachChunk(a, chunks, [&](int64_t first, int64_t rows) {
    if (rows < a.tokens) PRL_RETURN_IF_ERROR(MakeLogits(a, chunks, first, rows));  // else they are still there
    PRL_RETURN_IF_ERROR(TokenLogprobBackwardCuda(
        {RowsOf(a, args.batch.mask, chunks, first, rows), d_logprob + first, d_entropy + first, chunks.logits}, call));
    return PushGradient(args, chunks, first, rows, call);
  });
}

}  // namespace

Status LinearLogprobCuda(const LinearLogprobArgs& a, const CudaCall& call) {
  return Logprobs(a, a.mask, MakeChunks("linearLogProbs", a, 0, false, call), call);
}

Status LinearPolicyLossCuda(const LinearPolicyLossArgs& args, const CudaCall& call) {
  const LinearLogprobArgs& a = args.linear;
  PRL_RETURN_IF_ERROR(CheckLoss(args.batch, args.params));
  LossParams params = args.params;
  PRL_RETURN_IF_ERROR(CountTokens(args.batch, &params, call));
  if (a.tokens == 0 && !args.add_to_head)
    PRL_RETURN_IF_ERROR(CudaFill(args.d_head, 0, (size_t)(a.vocab * a.width) * sizeof(float)));
  const Chunks chunks = MakeChunks("linearPolicyLoss", a, args.batch.sequences, args.batch.mask != nullptr, call);
  return NeedsSequence(params) ? TwoSweeps(args, params, chunks, call) : OneSweep(args, params, chunks, call);
}

}  // namespace prl
