// The pickle inside a file of torch.save, read by a machine that executes nothing (core/torch_file.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace keel::core {

// A tensor as the pickle describes it, not yet compared with its storage. The texts lie in the pickle.
struct PickledTensor {
  std::string_view name;
  std::string_view dtype;               // "F32", "BF16" or "F16"
  std::string_view storage;             // key of the archive's entry data/KEY
  int64_t storage_items = 0;            // elements of that storage
  int64_t offset = 0;                   // of the first element
  std::vector<int64_t> shape, strides;  // at most 8 of each
};

// The tensors of a pickled dictionary {name: tensor}, in order. DataError naming `path` for every instruction, global or value that such a
// dictionary does not need. Memory is linear in the size of the pickle.
std::vector<PickledTensor> read_torch_pickle(std::string_view pickle, const std::string& path);

}  // namespace keel::core
