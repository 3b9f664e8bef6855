#include "kernels/coherence/coherence.h"

#include <algorithm>

#include "kernels/coherence/coherence_math.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace {

Status CheckScores(const CoherenceArgs& a) {
  for (int64_t k = 0; k < a.scores; ++k) {
    const float score = a.step_scores[k];
    if (IsScore(score)) continue;
    return ScoreOutside(k, score);
  }
  return Ok();
}

double Response(const CoherenceArgs& a, const float* scores, int64_t steps) {
  if (steps == 0) return 0.0;
  double total = 0.0;
  for (int32_t j = 0; j < a.window_sizes; ++j) {
    const int64_t size = a.windows[j], windows = (steps + size - 1) / size;
    double sum = 0.0;
    for (int64_t k = 0; k < windows; ++k) {
      const int64_t begin = k * size;
      sum += WindowScore(scores + begin, std::min(size, steps - begin), a.lambda_var);
    }
    total += sum / (double)windows;
  }
  return total / (double)a.window_sizes;
}

}  // namespace

Status ScoreOutside(int64_t index, float score) {
  return Error(score != score ? Code::kNonFinite : Code::kOutOfRange, "stepScores[%lld] = %g is outside [0, 1]",
               (long long)index, score);
}

Status CoherenceCpu(const CoherenceArgs& a) {
  PRL_RETURN_IF_ERROR(CheckScores(a));
  // A few thousand scores a task: less is not worth waking a thread.
  const int64_t grain = 1 + 4096 * a.responses / (a.scores + 1);
  ParallelRows(a.responses, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      a.out[i] = (float)Response(a, a.step_scores + a.cu_scores[i], a.cu_scores[i + 1] - a.cu_scores[i]);
    }
  });
  return Ok();
}

}  // namespace prl
