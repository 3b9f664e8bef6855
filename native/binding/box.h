// C++ values held by JavaScript objects. A type tag marks each kind, so that no other object passes for it.
#pragma once

#include <memory>

#include "binding/args.h"

namespace prl {

template <typename T>
Napi::Object Box(Napi::Env env, const napi_type_tag& tag, T value) {
  Napi::Object object = Napi::Object::New(env);
  auto held = std::make_unique<T>(std::move(value));
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<T*>(data); };
  if (napi_wrap(env, object, held.get(), finalize, nullptr, nullptr) != napi_ok) Throw(env, Code::kInternal, "a value could not be wrapped");
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
  if (!value.IsObject() || napi_check_object_type_tag(env, value, &tag, &ours) != napi_ok || !ours || napi_unwrap(env, value, &data) != napi_ok) {
    Throw(env, Code::kInvalidArgument, "%s must be %s", name, what);
  }
  return *static_cast<T*>(data);
}

}  // namespace prl
