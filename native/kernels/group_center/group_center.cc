#include "kernels/group_center/group_center.h"

#include <cmath>

#include "kernels/group_center/group_center_math.h"

namespace prl {
namespace {

Status Check(const char* name, const float* values, const int32_t* group, int64_t responses, int64_t groups) {
  for (int64_t i = 0; i < responses; ++i) {
    if (!std::isfinite(values[i])) return Error(Code::kNonFinite, "%s[%lld] is %g", name, (long long)i, values[i]);
    if (group[i] < 0 || group[i] >= groups) {
      return Error(Code::kOutOfRange, "group[%lld] = %d is outside [0, %lld)", (long long)i, group[i],
                   (long long)groups);
    }
  }
  return Ok();
}

double BatchDeviation(const GroupAdvantageArgs& a) {
  const double n = (double)a.responses;
  double sum = 0.0, squares = 0.0;
  for (int64_t i = 0; i < a.responses; ++i) sum += (double)a.rewards[i];
  for (int64_t i = 0; i < a.responses; ++i) {
    const double x = (double)a.rewards[i] - sum / n;
    squares += x * x;
  }
  return Deviation(squares, n, a.population);
}

}  // namespace

Status GroupAdvantageCpu(const GroupAdvantageArgs& a) {
  PRL_RETURN_IF_ERROR(Check("rewards", a.rewards, a.group, a.responses, a.groups));
  double *count = a.workspace, *mean = count + a.groups, *squares = mean + a.groups;
  for (int64_t g = 0; g < 3 * a.groups; ++g) a.workspace[g] = 0.0;
  for (int64_t i = 0; i < a.responses; ++i) {
    count[a.group[i]] += 1.0;
    mean[a.group[i]] += (double)a.rewards[i];
  }
  for (int64_t g = 0; g < a.groups; ++g) mean[g] /= count[g];
  for (int64_t i = 0; i < a.responses; ++i) {
    const double x = (double)a.rewards[i] - mean[a.group[i]];
    squares[a.group[i]] += x * x;
  }
  const double batch_deviation = a.batch_deviation ? BatchDeviation(a) : 0.0;
  for (int64_t i = 0; i < a.responses; ++i) {
    const int32_t g = a.group[i];
    const double deviation = a.batch_deviation ? batch_deviation : Deviation(squares[g], count[g], a.population);
    a.out[i] = GroupAdvantage(a, (double)a.rewards[i], count[g], mean[g], deviation);
  }
  return Ok();
}

Status OutcomeCenterCpu(const OutcomeCenterArgs& a) {
  PRL_RETURN_IF_ERROR(Check("scores", a.scores, a.group, a.responses, a.groups));
  // Per group and outcome: how many, and their sum.
  double *count = a.workspace, *sum = count + 2 * a.groups;
  for (int64_t j = 0; j < 4 * a.groups; ++j) a.workspace[j] = 0.0;
  const auto slot = [&](int64_t i) { return 2 * (int64_t)a.group[i] + (a.correct[i] != 0 ? 1 : 0); };
  for (int64_t i = 0; i < a.responses; ++i) {
    count[slot(i)] += 1.0;
    sum[slot(i)] += (double)a.scores[i];
  }
  for (int64_t i = 0; i < a.responses; ++i) {
    const bool keep = a.correct[i] != 0 && !a.center_correct;
    a.out[i] = keep ? a.scores[i] : (float)((double)a.scores[i] - sum[slot(i)] / count[slot(i)]);
  }
  return Ok();
}

}  // namespace prl
