// C++ values held by JavaScript objects. A type tag marks each kind, so that no other object passes for it.
#pragma once

#include <memory>

#include "binding/args.h"

namespace prl {

// Tells the garbage collector of memory that it does not see: what is forgotten is then collected in time.
inline void Grow(napi_env env, int64_t bytes) {
  int64_t ignored;
  if (bytes != 0) napi_adjust_external_memory(env, bytes, &ignored);
}

// `bytes` of memory that hang on the value: the garbage collector is told.
template <typename T>
Napi::Object Box(Napi::Env env, const napi_type_tag& tag, T value, int64_t bytes = 0) {
  Napi::Object object = Napi::Object::New(env);
  auto held = std::make_unique<T>(std::move(value));
  const auto finalize = [](napi_env env, void* data, void* bytes) {
    delete static_cast<T*>(data);
    Grow(env, -static_cast<int64_t>(reinterpret_cast<intptr_t>(bytes)));
  };
  void* const hint = reinterpret_cast<void*>(static_cast<intptr_t>(bytes));
  if (napi_wrap(env, object, held.get(), finalize, hint, nullptr) != napi_ok)
    Throw(env, Code::kInternal, "a value could not be wrapped");
  Grow(env, bytes);
  T* const kept = held.release();
  (void)kept;
  if (napi_type_tag_object(env, object, &tag) != napi_ok) Throw(env, Code::kInternal, "a value could not be tagged");
  return object;
}

// `name` is the argument's, `what` says what it should have been.
template <typename T>
T& Unbox(Napi::Env env, const napi_type_tag& tag, Napi::Value value, const char* name, const char* what) {
  bool ours = false;
  void* data = nullptr;
  if (!value.IsObject() || napi_check_object_type_tag(env, value, &tag, &ours) != napi_ok || !ours ||
      napi_unwrap(env, value, &data) != napi_ok) {
    Throw(env, Code::kInvalidArgument, "%s must be %s", name, what);
  }
  return *static_cast<T*>(data);
}

}  // namespace prl
