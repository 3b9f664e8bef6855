// The JavaScript object behind a policy, and its background tasks.
#include "binding/policy.h"

#include <cstring>
#include <new>

#include "binding/box.h"

namespace prl {
namespace {

// Random: marks our objects, so that no other wrapped object passes for one.
constexpr napi_type_tag kPolicyTag = {0x5f1d0c6b7e984a21ull, 0xb2c39d04e86f517aull};

// The garbage collector is told what hangs on the small object.
void Tell(napi_env env, PolicyHandle* handle, int64_t growth) {
  handle->told += growth;
  Grow(env, growth);
}

// A task that runs keeps the policy alive until it ends.
void Forget(napi_env env, PolicyHandle* handle) {
  handle->policy.reset();
  Tell(env, handle, -handle->told);
}

// The shared state of handle and task: the handle may be collected while the task runs.
using SharedHandle = std::shared_ptr<PolicyHandle>;

SharedHandle* Unwrap(const Args& args) {
  const Napi::Value value = args.Value("policy");
  bool ours = false;
  void* data = nullptr;
  if (!value.IsObject() || napi_check_object_type_tag(args.env(), value, &kPolicyTag, &ours) != napi_ok || !ours ||
      napi_unwrap(args.env(), value, &data) != napi_ok) {
    Throw(args.env(), Code::kInvalidArgument, "policy must be an object that policyCreate made");
  }
  return static_cast<SharedHandle*>(data);
}

PolicyHandle& Alive(const Args& args) {
  PolicyHandle& handle = **Unwrap(args);
  if (!handle.policy) Throw(args.env(), Code::kDisposed, "the policy was disposed of");
  return handle;
}

class Task : public Napi::AsyncWorker {
 public:
  Task(Napi::Env env, SharedHandle handle, std::function<Status(Policy&)> work,
       std::function<Napi::Value(Napi::Env)> result)
      : Napi::AsyncWorker(env, "prl-policy"), deferred_(Napi::Promise::Deferred::New(env)), handle_(std::move(handle)),
        policy_(handle_->policy), work_(std::move(work)), result_(std::move(result)) {
    policy_->cancelled = false;
    handle_->busy = true;
  }
  ~Task() override { handle_->busy = false; }

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    const int64_t before = BufferBytes();
    try {
      status_ = work_(*policy_);
    } catch (const std::bad_alloc&) {
      status_ = Error(Code::kOutOfMemory, "out of memory");
    } catch (const std::exception& e) {
      status_ = Error(Code::kInternal, "%s", e.what());
    }
    growth_ = BufferBytes() - before;
  }

  // The policy is busy until the task is gone: what JavaScript does when the promise is settled comes after that.
  void OnOK() override {
    Napi::HandleScope scope(Env());
    if (handle_->policy) Tell(Env(), handle_.get(), growth_);
    if (!status_.ok()) return deferred_.Reject(ToError(Env(), status_).Value());
    try {
      deferred_.Resolve(result_(Env()));
    } catch (const Napi::Error& error) {
      deferred_.Reject(error.Value());
    } catch (const std::bad_alloc&) {
      deferred_.Reject(ToError(Env(), Error(Code::kOutOfMemory, "out of memory")).Value());
    }
  }

 private:
  Napi::Promise::Deferred deferred_;
  SharedHandle handle_;
  std::shared_ptr<Policy> policy_;
  std::function<Status(Policy&)> work_;
  std::function<Napi::Value(Napi::Env)> result_;
  Status status_;
  int64_t growth_ = 0;
};

}  // namespace

Napi::Value WrapPolicy(Napi::Env env, const std::function<Status(std::shared_ptr<Policy>*)>& make) {
  Napi::Object object = Napi::Object::New(env);
  auto handle = std::make_unique<SharedHandle>(std::make_shared<PolicyHandle>());
  const int64_t before = BufferBytes();
  ThrowIfError(env, make(&(*handle)->policy));
  const int64_t bytes = BufferBytes() - before;
  const auto finalize = [](napi_env env, void* data, void*) {
    const std::unique_ptr<SharedHandle> owned(static_cast<SharedHandle*>(data));
    Forget(env, owned->get());
  };
  if (napi_wrap(env, object, handle.get(), finalize, nullptr, nullptr) != napi_ok) {
    Throw(env, Code::kInternal, "the policy could not be wrapped");
  }
  Tell(env, handle.release()->get(), bytes);
  if (napi_type_tag_object(env, object, &kPolicyTag) != napi_ok)
    Throw(env, Code::kInternal, "the policy could not be tagged");
  return object;
}

PolicyHandle& PolicyOf(const Args& args) { return Alive(args); }

void ChangePolicy(const Args& args, const std::function<Status(Policy&)>& change) {
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  const int64_t before = BufferBytes();
  const Status status = change(*policy);
  Tell(args.env(), &PolicyOf(args), BufferBytes() - before);
  ThrowIfError(args.env(), status);
}

std::shared_ptr<Policy> IdlePolicyOf(const Args& args) {
  PolicyHandle& handle = Alive(args);
  if (handle.busy) Throw(args.env(), Code::kBusy, "the policy is busy with a call that has not ended: await it first");
  return handle.policy;
}

void DisposePolicy(const Args& args) {
  PolicyHandle& handle = **Unwrap(args);
  if (handle.policy && handle.busy) handle.policy->cancelled = true;
  Forget(args.env(), &handle);
}

Napi::Value RunOnPolicy(const Args& args, std::function<Status(Policy&)> work,
                        std::function<Napi::Value(Napi::Env)> result) {
  IdlePolicyOf(args);
  Task* task = new Task(args.env(), *Unwrap(args), std::move(work), std::move(result));
  const Napi::Promise promise = task->promise();
  task->Queue();
  return promise;
}

Napi::Value ToFloat32Array(Napi::Env env, const std::vector<float>& values) {
  Napi::Float32Array array = Napi::Float32Array::New(env, values.size());
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(float));
  return array;
}

Napi::Value ToInt32Array(Napi::Env env, const std::vector<int32_t>& values) {
  Napi::Int32Array array = Napi::Int32Array::New(env, values.size());
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(int32_t));
  return array;
}

}  // namespace prl
