#include "gatt/language.h"

#include <cld2/public/encodings.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdio>  // for the next header, which forgets it
#include <stdexcept>

#include <cld2/public/compact_lang_det.h>

namespace keel::gatt {
namespace {

CLD2::Language language_of(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  for (int i = 0; i < CLD2::NUM_LANGUAGES; ++i) {
    const auto language = static_cast<CLD2::Language>(i);
    if (language != CLD2::UNKNOWN_LANGUAGE && name == CLD2::LanguageName(language)) return language;
  }
  return CLD2::UNKNOWN_LANGUAGE;
}

}  // namespace

bool known_language(const std::string& name) {
  return language_of(name) != CLD2::UNKNOWN_LANGUAGE;
}

bool is_in_language(std::string_view text, const std::string& name) {
  const CLD2::Language wanted = language_of(name);
  if (wanted == CLD2::UNKNOWN_LANGUAGE) throw std::invalid_argument(fmt::format("\"{}\" is no language that keel can recognise", name));
  const CLD2::CLDHints no_hints = {nullptr, nullptr, CLD2::UNKNOWN_ENCODING, CLD2::UNKNOWN_LANGUAGE};
  CLD2::Language languages[3];
  int percents[3], bytes = 0, valid = 0;
  double scores[3];
  bool reliable = false;
  CLD2::ExtDetectLanguageSummaryCheckUTF8(text.data(), static_cast<int>(text.size()), true, &no_hints, CLD2::kCLDFlagBestEffort, languages,
                                          percents, scores, nullptr, &bytes, &reliable, &valid);
  return languages[0] == wanted;  // the one with the largest share of the text
}

}  // namespace keel::gatt
