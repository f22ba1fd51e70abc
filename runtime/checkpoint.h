// Checkpoints of long work: one safetensors file per commit, replaced by rename, so that a kill at any moment leaves the last complete one.
//
// A checkpoint holds everything the next step reads: weights, optimiser moments, counters, controllers. Random draws are counter-based and
// need no state. Metrics are cut back to the recorded offset, so no line appears twice.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "runtime/parameters.h"
#include "runtime/tensor_file.h"

namespace keel::runtime {

class Checkpointer {
 public:
  // The file is FOLDER/ckpt/state.safetensors; the folder is made when it is first saved.
  explicit Checkpointer(std::filesystem::path folder);

  struct Loaded {
    std::map<std::string, at::Tensor> tensors;
    std::string state;  // the JSON text that was saved
  };
  std::optional<Loaded> load() const;  // nothing when there is none; DataError when it is broken

  void save(const Parameters& tensors, const nlohmann::json& state);

  // True when at least 15 s and 20 times the duration of the last save have passed; of several ranks, which all
  // call it, the first one decides. The moment of saving changes no result.
  bool due() const;

 private:
  using Clock = std::chrono::steady_clock;
  std::filesystem::path file_;
  Clock::time_point last_ = Clock::now();
  std::chrono::duration<double> cost_{0};
};

// Weights of half-done work. No manifest covers them yet, so the file holds its own digest.
void save_sealed(const std::filesystem::path& path, const Parameters& tensors, std::map<std::string, std::string> metadata);

// DataError when the file is broken or differs in any bit from what was saved.
TensorFile load_sealed(const std::filesystem::path& path);

}  // namespace keel::runtime
