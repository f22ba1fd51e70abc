// LibTorch's PrivateUse1 backend. The device's memory is one memory file that is mapped twice: tensors hold addresses of the first mapping,
// which nobody may touch, and the CPU's operators work on the second.
#include "support/pretend_device.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <sys/mman.h>
#include <torch/library.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <mutex>
#include <set>

namespace keel::test {
namespace {

using c10::DispatchKey;
using Stack = torch::jit::Stack;

class Memory final : public c10::Allocator {
 public:
  Memory() {
    const int file = memfd_create("pretend device", 0);
    TORCH_CHECK(file >= 0 && ftruncate(file, kBytes) == 0, "no memory file for the pretend device");
    device_ = map(file, PROT_NONE);
    host_ = map(file, PROT_READ | PROT_WRITE);
    close(file);
  }
  c10::DataPtr allocate(size_t bytes) override {
    const size_t size = std::max<size_t>(64, (bytes + 63) / 64 * 64);
    const std::lock_guard lock(mutex_);
    const auto known = free_.find(size);
    const size_t at = known == free_.end() ? top_ : known->second;
    if (known == free_.end()) {
      TORCH_CHECK(top_ + size <= kBytes, "the pretend device is full");
      top_ += size;
    } else {
      free_.erase(known);
    }
    sizes_[at] = size;
    return {device_ + at, device_ + at, &release, c10::Device(c10::kPrivateUse1, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(on_host(to), on_host(from), bytes); }

  // Where the host finds what lies at an address of the device.
  char* on_host(const void* device) const { return device == nullptr ? host_ : host_ + (static_cast<const char*>(device) - device_); }
  bool holds(const void* host) const { return host >= host_ && host < host_ + kBytes; }

 private:
  static constexpr size_t kBytes = size_t{1} << 30;  // of addresses; pages come with their first use

  static char* map(int file, int access) {
    void* start = mmap(nullptr, kBytes, access, MAP_SHARED | MAP_NORESERVE, file, 0);
    TORCH_CHECK(start != MAP_FAILED, "the pretend device's memory cannot be mapped");
    return static_cast<char*>(start);
  }
  static void release(void* address);

  char *device_, *host_;
  std::mutex mutex_;
  size_t top_ = 0;
  std::map<size_t, size_t> sizes_;      // of what lies at an offset
  std::multimap<size_t, size_t> free_;  // size -> offset
};

Memory& memory() {
  static auto* one = new Memory();  // tensors may outlive all statics
  return *one;
}

void Memory::release(void* address) {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex_);
  const auto at = static_cast<size_t>(static_cast<char*>(address) - all.device_);
  all.free_.emplace(all.sizes_.at(at), at);
}

struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::kPrivateUse1> {
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  c10::Device getDevice() const override { return {c10::kPrivateUse1, 0}; }
  c10::Stream getStream(c10::Device device) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override { return getStream(stream.device()); }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
};

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
};

bool on_device(const at::Tensor& tensor) {
  return tensor.defined() && tensor.is_privateuseone();
}

// The same memory, shape and strides as a tensor of the CPU.
at::Tensor host_view(const at::Tensor& tensor) {
  char* start = memory().on_host(tensor.unsafeGetTensorImpl()->storage().unsafeGetStorageImpl()->_mutable_data_ptr_no_checks().get());
  c10::Storage storage(c10::Storage::use_byte_size_t(), tensor.storage().nbytes(), c10::DataPtr(start, c10::kCPU),
                       c10::GetAllocator(c10::kCPU), /*resizable=*/true);
  at::Tensor view = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(DispatchKey::CPU), tensor.dtype());
  view.unsafeGetTensorImpl()->set_storage_offset(tensor.storage_offset());
  view.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides());
  return view;
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<at::ScalarType> type, std::optional<at::Layout>,
                         std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &memory(), c10::DispatchKeySet(DispatchKey::PrivateUse1),
                                           c10::dtype_or_default(type));
}

at::Tensor empty_memory(c10::IntArrayRef size, std::optional<at::ScalarType> type, std::optional<at::Layout>, std::optional<at::Device>,
                        std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &memory(), c10::DispatchKeySet(DispatchKey::PrivateUse1), c10::dtype_or_default(type), format);
}

at::Tensor copied_to_device(const at::Tensor& host) {
  at::Tensor copy = empty_strided(host.sizes(), host.strides(), host.scalar_type(), {}, {}, {});
  host_view(copy).copy_(host.detach());
  return copy;
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  const auto on_host = [](const at::Tensor& tensor) { return on_device(tensor) ? host_view(tensor) : tensor.detach(); };
  on_host(to).copy_(on_host(from));
  return to;
}

const at::Tensor& resize(const at::Tensor& tensor, c10::SymIntArrayRef size, std::optional<at::MemoryFormat>) {
  const c10::IntArrayRef wanted = C10_AS_INTARRAYREF_SLOW(size);
  size_t bytes = tensor.element_size();
  for (const int64_t count : wanted)
    bytes *= static_cast<size_t>(count);
  auto* storage = tensor.unsafeGetTensorImpl()->storage().unsafeGetStorageImpl();
  if (storage->nbytes() < bytes) {
    storage->set_data_ptr_noswap(memory().allocate(bytes));
    storage->set_nbytes(bytes);
  }
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(wanted);
  return tensor;
}

// A GPU takes these with indices on the host, and single numbers with any tensor.
bool may_mix(const std::string& name) {
  static const std::set<std::string> names = {"aten::index", "aten::index_put_", "aten::_index_put_impl_", "aten::_local_scalar_dense"};
  return names.contains(name);
}

// Calls `use` for every tensor of an argument; what it returns takes the tensor's place.
template <class Use>
void replace_tensors(c10::IValue& value, const Use& use) {
  if (value.isTensor()) {
    value = use(value.toTensor());
  } else if (value.isTensorList()) {
    std::vector<at::Tensor> list;
    for (const at::Tensor& tensor : value.toTensorVector())
      list.push_back(use(tensor));
    value = c10::IValue(list);
  } else if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> list;
    for (const auto& tensor : value.toOptionalTensorVector())
      list.push_back(tensor ? std::optional(use(*tensor)) : tensor);
    value = c10::IValue(list);
  }
}

// Any operator: by the CPU's kernel, on the second mapping of the arguments' memory.
void by_the_cpu(const c10::OperatorHandle& op, Stack* stack) {
  const auto& schema = op.schema();
  const size_t count = schema.arguments().size(), first = stack->size() - count;
  bool here = false, elsewhere = false;
  std::vector<at::Tensor> given(count);  // arguments that are one tensor
  for (size_t i = 0; i < count; ++i) {
    c10::IValue& value = (*stack)[first + i];
    if (value.isTensor()) given[i] = value.toTensor();
    if (value.isDevice()) value = c10::IValue(at::Device(at::kCPU));
    replace_tensors(value, [&](const at::Tensor& tensor) {
      here = here || on_device(tensor);
      elsewhere = elsewhere || (tensor.defined() && !on_device(tensor) && tensor.dim() > 0);
      return on_device(tensor) ? host_view(tensor) : tensor;
    });
  }
  TORCH_CHECK(!(here && elsewhere) || may_mix(schema.name()), "Expected all tensors to be on the same device, in ", schema.name());
  op.callBoxedForDispatchKey(DispatchKey::CPU, *stack);

  const size_t results = schema.returns().size(), begin = stack->size() - results;
  for (size_t i = 0; i < results; ++i) {
    c10::IValue& value = (*stack)[begin + i];
    const auto* alias = schema.returns()[i].alias_info();
    size_t written = count;  // the argument that this result is
    for (size_t a = 0; alias != nullptr && alias->isWrite() && a < count; ++a) {
      const auto* other = schema.arguments()[a].alias_info();
      if (other != nullptr && *other == *alias && given[a].defined()) written = std::min(written, a);
    }
    if (written == count) {
      TORCH_CHECK(alias == nullptr, "the pretend device lacks the view ", schema.name());
      replace_tensors(value, [](const at::Tensor& tensor) { return tensor.defined() ? copied_to_device(tensor) : tensor; });
      continue;
    }
    const at::Tensor now = value.toTensor();
    if (!memory().holds(now.storage().data()) || now.sizes() != given[written].sizes()) {  // the kernel gave it other memory
      resize(given[written], c10::fromIntArrayRefSlow(now.sizes()), {});
      host_view(given[written]).copy_(now);
    }
    value = given[written];
  }
}

bool registered() {
  c10::register_privateuse1_backend("pretend");
  c10::SetAllocator(c10::kPrivateUse1, &memory());
  static Hooks hooks;
  at::RegisterPrivateUse1HooksInterface(&hooks);
  static torch::Library every(torch::Library::IMPL, "_", DispatchKey::PrivateUse1, __FILE__, __LINE__);
  every.fallback(torch::CppFunction::makeFromBoxedFunction<&by_the_cpu>());
  static torch::Library aten(torch::Library::IMPL, "aten", DispatchKey::PrivateUse1, __FILE__, __LINE__);
  aten.impl("empty.memory_format", &empty_memory);
  aten.impl("empty_strided", &empty_strided);
  aten.impl("_copy_from", &copy_from);
  aten.impl("resize_", &resize);
  aten.impl("as_strided", [](const at::Tensor& tensor, c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<int64_t> offset) {
    return at::native::as_strided_tensorimpl(tensor, size, stride, offset);
  });
  aten.impl("view", [](const at::Tensor& tensor, c10::IntArrayRef size) { return at::native::view(tensor, size); });
  aten.impl("_reshape_alias", [](const at::Tensor& tensor, c10::IntArrayRef size, c10::IntArrayRef stride) {
    return at::native::_reshape_alias(tensor, size, stride);
  });
  return true;
}

}  // namespace

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

c10::Device pretend_device() {
  static const bool once = registered();
  TORCH_CHECK(once);
  return {c10::kPrivateUse1, 0};
}

}  // namespace keel::test
