#include "data/rendered_text.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "core/utf8.h"
#include "data/chat_format.h"

namespace keel::data {
namespace {

// Whether the tokenizer puts a blank before a text that follows a special token.
bool puts_blank(const Tokenizer& tokenizer) {
  return continuation_text(tokenizer, tokenizer.encode("b"), tokenizer.encode_behind_special("a")) == " a";
}

}  // namespace

core::Ids rendered_text_ids(const Tokenizer& tokenizer, std::string_view text) {
  core::require_utf8(text);
  std::vector<std::string> specials = tokenizer.special_texts();
  std::erase(specials, "");
  std::stable_sort(specials.begin(), specials.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  std::array<bool, 256> begins{};  // bytes that a special token begins with
  for (const auto& special : specials)
    begins[static_cast<unsigned char>(special[0])] = true;
  const bool blank = puts_blank(tokenizer);
  core::Ids ids;
  const auto add_text = [&](std::string_view part) {
    if (blank && !ids.empty() && part.starts_with(' ')) part.remove_prefix(1);
    if (part.empty()) return;
    const core::Ids more = ids.empty() ? tokenizer.encode(part) : tokenizer.encode_behind_special(part);
    ids.insert(ids.end(), more.begin(), more.end());
  };
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const bool may_begin = begins[static_cast<unsigned char>(text[at])];
    const auto found =
        !may_begin ? specials.end()
                   : std::find_if(specials.begin(), specials.end(), [&](const auto& one) { return text.substr(at).starts_with(one); });
    if (found == specials.end()) {
      ++at;
      continue;
    }
    add_text(text.substr(begin, at - begin));
    ids.push_back(*tokenizer.special(*found));
    begin = at += found->size();
  }
  add_text(text.substr(begin));
  return ids;
}

}  // namespace keel::data
