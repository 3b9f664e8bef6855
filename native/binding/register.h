// One Register function per file of binding/, called by addon.cc.
#pragma once

#include "binding/args.h"

namespace prl {

void RegisterRuntime(Napi::Env env, Napi::Object exports);
void RegisterCuda(Napi::Env env, Napi::Object exports);
void RegisterTokenLogprob(Napi::Env env, Napi::Object exports);
void RegisterClippedLoss(Napi::Env env, Napi::Object exports);
void RegisterPolicyLoss(Napi::Env env, Napi::Object exports);
void RegisterLinearLogprob(Napi::Env env, Napi::Object exports);
void RegisterPolicy(Napi::Env env, Napi::Object exports);
void RegisterPolicyGenerate(Napi::Env env, Napi::Object exports);
void RegisterPolicyMemory(Napi::Env env, Napi::Object exports);
void RegisterStepReward(Napi::Env env, Napi::Object exports);
void RegisterGroupCenter(Napi::Env env, Napi::Object exports);
void RegisterCoherence(Napi::Env env, Napi::Object exports);
void RegisterQuantileHead(Napi::Env env, Napi::Object exports);
void RegisterImportanceWeight(Napi::Env env, Napi::Object exports);
void RegisterQuantileLoss(Napi::Env env, Napi::Object exports);

}  // namespace prl
