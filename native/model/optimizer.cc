#include "model/optimizer.h"

#include <cmath>

namespace prl {

AdamWStep StepOf(const OptimizerParams& params, int64_t steps, double norm, bool decays) {
  AdamWStep step{};
  // As torch.nn.utils.clip_grad_norm_ does.
  const double clip = params.max_grad_norm / (norm + 1e-6);
  step.gradient_scale = static_cast<float>(clip < 1.0 ? clip : 1.0);
  step.one_minus_beta1 = static_cast<float>(1.0 - params.beta1);
  step.beta2 = static_cast<float>(params.beta2);
  step.one_minus_beta2 = static_cast<float>(1.0 - params.beta2);
  step.epsilon = static_cast<float>(params.epsilon);
  step.keep = decays ? static_cast<float>(1.0 - params.learning_rate * params.weight_decay) : 1.0f;
  step.step_size =
      static_cast<float>(params.learning_rate / (1.0 - std::pow(params.beta1, static_cast<double>(steps))));
  step.correction = static_cast<float>(std::sqrt(1.0 - std::pow(params.beta2, static_cast<double>(steps))));
  return step;
}

}  // namespace prl
