#include "runtime/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "runtime/dist/ranks.h"

namespace keel::runtime {
namespace {

// Digest of names, shapes, values and metadata, independent of the order of tensors.
std::string seal_of(const std::map<std::string, at::Tensor>& tensors, const std::map<std::string, std::string>& metadata) {
  Parameters sorted;
  for (const auto& [name, tensor] : tensors)
    sorted.push_back({name, tensor});
  return core::sha256(digest(sorted) + core::dump_json(metadata));
}

}  // namespace

void save_sealed(const std::filesystem::path& path, const Parameters& tensors, std::map<std::string, std::string> metadata) {
  metadata["seal"] = seal_of(by_name(tensors), metadata);
  save_tensors(path, tensors, metadata);
}

TensorFile load_sealed(const std::filesystem::path& path) {
  TensorFile file = load_tensors(path);
  const auto seal = file.metadata.extract("seal");
  if (seal.empty() || seal.mapped() != seal_of(file.tensors, file.metadata))
    throw core::DataError(path, 0, fmt::format("is not what keel saved: delete {} to start over", path.parent_path().string()));
  return file;
}

Checkpointer::Checkpointer(std::filesystem::path folder) : file_(std::move(folder) / "ckpt" / "state.safetensors") {}

std::optional<Checkpointer::Loaded> Checkpointer::load() const {
  if (!std::filesystem::exists(file_)) return std::nullopt;
  TensorFile file = load_sealed(file_);
  const auto state = file.metadata.find("state");
  if (state == file.metadata.end()) throw core::DataError(file_, 0, "is no checkpoint of keel: delete it to start this stage over");
  return Loaded{std::move(file.tensors), state->second};
}

void Checkpointer::save(const Parameters& tensors, const nlohmann::json& state) {
  if (!dist::first()) return;  // the first rank has all of it, the others perhaps not; all go on from its file
  const auto begin = Clock::now();
  core::make_directories(file_.parent_path());
  save_sealed(file_, tensors, {{"state", core::dump_json(state)}});
  last_ = Clock::now();
  cost_ = last_ - begin;
}

bool Checkpointer::due() const {
  std::vector<char> due = {Clock::now() - last_ > std::max(std::chrono::duration<double>(15), 20 * cost_)};
  dist::share(due);  // the first number is the first rank's
  return due.front() != 0;
}

}  // namespace keel::runtime
