#include "runtime/checkpoint.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "runtime/tensor_file.h"

namespace keel::runtime {

Checkpointer::Checkpointer(std::filesystem::path folder) : file_(std::move(folder) / "ckpt" / "state.safetensors") {}

std::optional<Checkpointer::Loaded> Checkpointer::load() const {
  if (!std::filesystem::exists(file_)) return std::nullopt;
  TensorFile file = load_tensors(file_);
  const auto state = file.metadata.find("state");
  if (state == file.metadata.end()) throw core::DataError(file_, 0, "is no checkpoint of keel: delete it to start this stage over");
  return Loaded{std::move(file.tensors), state->second};
}

void Checkpointer::save(const Parameters& tensors, const nlohmann::json& state) {
  const auto begin = Clock::now();
  core::make_directories(file_.parent_path());
  save_tensors(file_, tensors, {{"state", core::dump_json(state)}});
  last_ = Clock::now();
  cost_ = last_ - begin;
}

bool Checkpointer::due() const {
  return Clock::now() - last_ > std::max(std::chrono::duration<double>(15), 20 * cost_);
}

void restore(const std::map<std::string, at::Tensor>& tensors, const Parameters& into) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : into) {
    const auto found = tensors.find(name);
    TORCH_CHECK(found != tensors.end(), "[runtime.restore] the checkpoint holds no ", name, "; it was made by another configuration");
    TORCH_CHECK(found->second.sizes() == tensor.sizes(), "[runtime.restore] ", name, " must be ", tensor.sizes(), ", got ",
                found->second.sizes());
    tensor.copy_(found->second);
  }
}

}  // namespace keel::runtime
