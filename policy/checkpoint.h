// What a checkpoint's headers say, without reading the weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "policy/config.h"

namespace keel::policy {

struct Checkpoint {
  LlamaConfig config = {};
  bool scalar_head = false;                    // a reward model or another classifier with one label
  int64_t parameters = 0;                      // numbers; a tied head that is written twice counts once
  int64_t bytes = 0;                           // of the weight files
  std::map<std::string, int64_t> dtypes = {};  // numbers by dtype: "F32", "BF16", "Q4_K" ...
  std::vector<std::string> problems = {};      // missing, unknown and misshapen tensors, for which loading would fail
};

// A folder, told apart by "architectures". UsageError and DataError as load_llama(), but for the tensors themselves.
Checkpoint describe_folder(const std::filesystem::path& folder);

// A GGUF file of architecture "llama"; DataError for another one.
Checkpoint describe_gguf(const std::filesystem::path& file);

// A llama2.c file; DataError for one that is none.
Checkpoint describe_llama2c(const std::filesystem::path& file);

// A PEFT adapter.
struct AdapterCheckpoint {
  std::string base;  // that it was trained on, as it names it
  std::string task;  // "CAUSAL_LM", "SEQ_CLS"
  int64_t rank = 0;
  double alpha = 0;
  std::vector<std::string> modules;
  int64_t parameters = 0, bytes = 0;
  std::map<std::string, int64_t> dtypes;
};
AdapterCheckpoint describe_adapter(const std::filesystem::path& folder);

}  // namespace keel::policy
