#include "kernels/linear_logprob/linear_logprob.h"

namespace prl {

int64_t LinearWorkspaceFloats(int64_t tokens, int64_t sequences, int64_t width, int64_t vocab, int64_t chunk) {
  const int64_t rows = chunk < tokens ? chunk : tokens;
  return LossWorkspaceFloats(sequences) + 2 * tokens + (vocab + 2 * width) * (rows > 1 ? rows : 1);
}

}  // namespace prl
