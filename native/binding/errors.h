// Failures as JavaScript errors with a stable `code`, and the functions that may throw them.
#pragma once

#include <napi.h>

#include "runtime/status.h"

namespace prl {

// Per environment (the main thread, each worker).
struct AddonData {
  Napi::FunctionReference prl_error;  // lib/base/errors.ts PrlError: (code, message)
};

// The JavaScript error for a status: TypeError, RangeError or PrlError, with `code`.
Napi::Error ToError(Napi::Env env, const Status& status);
// Throws unless ok.
void ThrowIfError(Napi::Env env, const Status& status);
// printf-style, thrown at once.
[[noreturn]] void Throw(Napi::Env env, Code code, const char* format, ...) __attribute__((format(printf, 3, 4)));

// Registers `function` under `name`; a C++ exception that is not a JavaScript error becomes one.
void Export(Napi::Env env, Napi::Object exports, const char* name, Napi::Value (*function)(const Napi::CallbackInfo&));

}  // namespace prl
