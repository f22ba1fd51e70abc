// The marks in a chat format's texts that stand for ids.
#pragma once

#include <string_view>

namespace keel::data {

inline constexpr std::string_view kBosMark = "{bos}", kEosMark = "{eos}";

// A declared text without the BOS that it may begin with.
inline std::string_view behind_bos(std::string_view text) {
  if (text.starts_with(kBosMark)) text.remove_prefix(kBosMark.size());
  return text;
}

}  // namespace keel::data
