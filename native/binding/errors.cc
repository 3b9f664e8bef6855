#include "binding/errors.h"

#include <cstdarg>
#include <cstdio>
#include <new>

namespace prl {
namespace {

const char* CodeName(Code code) {
  switch (code) {
    case Code::kOk: return "OK";
    case Code::kInvalidArgument: return "ERR_PRL_INVALID_ARGUMENT";
    case Code::kOutOfRange: return "ERR_PRL_OUT_OF_RANGE";
    case Code::kNonFinite: return "ERR_PRL_NON_FINITE";
    case Code::kUnsupported: return "ERR_PRL_UNSUPPORTED";
    case Code::kOutOfMemory: return "ERR_PRL_OUT_OF_MEMORY";
    case Code::kAborted: return "ERR_PRL_ABORTED";
    case Code::kDisposed: return "ERR_PRL_DISPOSED";
    case Code::kBusy: return "ERR_PRL_BUSY";
    case Code::kCuda: return "ERR_PRL_CUDA";
    case Code::kIo: return "ERR_PRL_IO";
    case Code::kCorrupt: return "ERR_PRL_CORRUPT";
    case Code::kInternal: break;
  }
  return "ERR_PRL_INTERNAL";
}

using Function = Napi::Value (*)(const Napi::CallbackInfo&);

Napi::Value Call(const Napi::CallbackInfo& info) {
  const auto function = reinterpret_cast<Function>(info.Data());
  Status status;
  try {
    return function(info);
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    status = Error(Code::kOutOfMemory, "out of memory");
  } catch (const std::exception& e) {
    status = Error(Code::kInternal, "%s", e.what());
  }
  throw ToError(info.Env(), status);
}

}  // namespace

Napi::Error ToError(Napi::Env env, const Status& status) {
  const char* code = CodeName(status.code);
  if (status.code != Code::kInvalidArgument && status.code != Code::kOutOfRange) {
    AddonData* data = env.GetInstanceData<AddonData>();
    if (data && !data->prl_error.IsEmpty()) {
      Napi::Object error = data->prl_error.New({Napi::String::New(env, code), Napi::String::New(env, status.message)})
                               .As<Napi::Object>();
      return Napi::Error(env, error);
    }
  }
  Napi::Error error = status.code == Code::kInvalidArgument ? Napi::Error(Napi::TypeError::New(env, status.message))
                      : status.code == Code::kOutOfRange    ? Napi::Error(Napi::RangeError::New(env, status.message))
                                                            : Napi::Error::New(env, status.message);
  error.Value().Set("code", Napi::String::New(env, code));
  return error;
}

void ThrowIfError(Napi::Env env, const Status& status) {
  if (!status.ok()) throw ToError(env, status);
}

void Throw(Napi::Env env, Code code, const char* format, ...) {
  Status status;
  status.code = code;
  va_list args;
  va_start(args, format);
  vsnprintf(status.message, sizeof status.message, format, args);
  va_end(args);
  throw ToError(env, status);
}

void Export(Napi::Env env, Napi::Object exports, const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
  exports.Set(name, Napi::Function::New(env, Call, name, reinterpret_cast<void*>(function)));
}

}  // namespace prl
