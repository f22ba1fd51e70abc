// Regular expressions over UTF-8 with Unicode classes (PCRE2), as the pre-tokenizers of tokenizer.json files need them.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct pcre2_real_code_8;

namespace keel::data {

struct Span {
  size_t begin = 0, end = 0;  // bytes
};

class Pattern {
 public:
  // Throws std::invalid_argument with PCRE2's reason for a pattern that it cannot compile.
  explicit Pattern(std::string_view expression);
  static Pattern literal(std::string_view text) { return Pattern(quoted(text)); }
  static std::string quoted(std::string_view text);  // an expression that matches exactly `text`

  // Successive matches that are not empty. `text` must be valid UTF-8.
  std::vector<Span> matches(std::string_view text) const;

  int groups() const;  // capturing ones
  // What the first group holds in the last match that is not empty and in which the group takes part; nothing where there is none.
  std::optional<Span> last_group(std::string_view text) const;

 private:
  std::shared_ptr<pcre2_real_code_8> code_;
};

}  // namespace keel::data
