#include "binding/register.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new prl::AddonData());
  prl::RegisterRuntime(env, exports);
  prl::RegisterCuda(env, exports);
  prl::RegisterTokenLogprob(env, exports);
  prl::RegisterClippedLoss(env, exports);
  prl::RegisterPolicyLoss(env, exports);
  prl::RegisterLinearLogprob(env, exports);
  prl::RegisterPolicy(env, exports);
  prl::RegisterPolicyGenerate(env, exports);
  prl::RegisterPolicyMemory(env, exports);
  prl::RegisterStepReward(env, exports);
  prl::RegisterGroupCenter(env, exports);
  prl::RegisterCoherence(env, exports);
  prl::RegisterQuantileHead(env, exports);
  prl::RegisterImportanceWeight(env, exports);
  prl::RegisterQuantileLoss(env, exports);
  return exports;
}

NODE_API_MODULE(prl, Init)
