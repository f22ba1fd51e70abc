// A Jinja chat template in a normal form, equal for different spellings of one template.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace keel::data {

// A statement ("if message.role=='user'", "endif"), or what is written between two statements, as an expression whose parts are joined
// by +. Code has no blanks outside strings but between words, strings in single quotes with their escapes resolved (a quote inside one is
// kQuote), m['role'] as m.role, ~ as +, and adjacent strings as one. Comments are left out, and the line breaks and blanks that
// transformers' setting of Jinja removes.
struct TemplateStep {
  bool writes = false;
  std::string code;
};

constexpr char kQuote = '\1';                      // a quote inside a string
std::string with_quotes(std::string_view string);  // the text of such a string

// Empty for a text that is no template.
std::vector<TemplateStep> template_steps(std::string_view text);

}  // namespace keel::data
