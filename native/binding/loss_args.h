// The arguments that all losses share.
#pragma once

#include <memory>

#include "binding/cuda.h"
#include "kernels/clipped_loss/clipped_loss.h"

namespace prl {

// PRL_LOSS_PARAMS, all of them: lib/kernels/loss-options.ts fills in the defaults.
LossParams ParseLossParams(const Args& args);
// advantages, advantagesPerToken, cuSeqlens, oldLogProbs?, refLogProbs?, importanceWeights?, rolloutLogProbs?, mask? of
// `tokens` tokens. Borrowed.
LossBatch ParseLossBatch(const Args& args, int64_t tokens);
// The field `temperature`; what divides logits by it multiplies with its inverse, which must be a finite float32 too.
float ReadTemperature(const Args& args);
// { loss, tokens, ... }: the plain sums.
Napi::Object SumsObject(Napi::Env env, const LossSums& sums);
// { ticket }: what lossSums({ ticket }) turns into them when they are wanted.
Napi::Object PendingSums(Napi::Env env, CudaTicketPtr ticket);
// Uninitialised scratch, aligned to 16 bytes.
std::unique_ptr<float[]> Scratch(int64_t floats);

}  // namespace prl
