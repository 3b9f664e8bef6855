#include "kernels/linear_logprob/linear_logprob.h"

namespace prl {
namespace {

// In one sweep what the loss of each token needs (policy_loss_rows_cuda.h); in two its two derivatives.
constexpr int64_t kPerTokenBytes = 32;

int64_t RoundUp(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

}  // namespace

int64_t LinearWorkspaceFloats(int64_t tokens, int64_t sequences, int64_t width, int64_t vocab, int64_t chunk) {
  const int64_t rows = chunk < tokens ? chunk : tokens;
  return LossWorkspaceFloats(sequences) + 2 * tokens + (vocab + 2 * width) * (rows > 1 ? rows : 1);
}

int64_t LinearCudaRowBytes(int64_t vocab, DType dtype) { return RoundUp(vocab * (int64_t)SizeOf(dtype), 128); }

LinearCudaLayout LayOutLinear(const LinearLogprobArgs& a, int64_t sequences, bool masked) {
  LinearCudaLayout layout{};
  layout.rows = a.tokens;
  if (a.chunk < a.tokens) {
    const int64_t chunks = (a.tokens + a.chunk - 1) / a.chunk;
    // Tiles of matrix products are up to 256 rows high; a chunk should not end in a sliver of one.
    const int64_t even = RoundUp((a.tokens + chunks - 1) / chunks, 256);
    layout.rows = even < a.chunk ? even : a.chunk;
  }
  const int64_t element = (int64_t)SizeOf(a.dtype), row_bytes = LinearCudaRowBytes(a.vocab, a.dtype);
  layout.stride = row_bytes / element;
  layout.loss = 0;
  layout.per_token = RoundUp(LossCudaWorkspaceFloats(a.tokens, sequences) * (int64_t)sizeof(float), 128);
  layout.logits = layout.per_token + RoundUp(kPerTokenBytes * a.tokens, 128);
  layout.hidden = layout.logits + layout.rows * row_bytes;
  layout.bytes = layout.hidden + (masked ? layout.rows * a.width * element : 0);
  return layout;
}

}  // namespace prl
