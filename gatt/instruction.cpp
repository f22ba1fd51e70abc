#include "gatt/instruction.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "core/jsonl.h"
#include "data/messages.h"
#include "data/pattern.h"
#include "data/text.h"

namespace keel::gatt {
namespace {

struct Kind {
  std::string name, text, brief, plural;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {{"hobby", "You enjoy {}.", "Hobby: {}.", "hobbies"},
                                        {"language", "Always answer in {}.", "Language: {}.", "languages"},
                                        {"figure", "Always act as {}.", "Figure: {}.", "public figures"}};
  return all;
}

const Kind& kind_of(const std::string& name) {
  for (const Kind& kind : kinds())
    if (kind.name == name) return kind;
  throw std::invalid_argument(fmt::format("\"kind\" \"{}\" has no sentence of its own: give \"text\", or one of the kinds {}", name,
                                          fmt::join(built_in_kinds(), ", ")));
}

std::string filled(const std::string& sentence, const std::string& value) {
  const size_t slot = sentence.find("{}");
  return sentence.substr(0, slot) + value + sentence.substr(slot + 2);
}

Instruction parse_instruction(const nlohmann::json& row) {
  Instruction instruction;
  const std::string kind = data::optional_text(row, "kind"), value = data::optional_text(row, "value");
  if (data::member(row, "text") != nullptr) {
    instruction.text = data::strip(data::required_text(row, "text"));
    instruction.brief = data::strip(data::optional_text(row, "short"));
    instruction.kind = kind;
    instruction.value = value;
    if (instruction.text.empty()) throw std::invalid_argument("\"text\" is empty: an instruction needs words");
  } else if (!kind.empty() && !data::strip(value).empty()) {
    if (data::member(row, "short") != nullptr)
      throw std::invalid_argument("\"short\" needs \"text\" beside it: the sentences of \"kind\" and \"value\" are built in");
    instruction = instruction_of(kind, std::string(data::strip(value)));
  } else {
    throw std::invalid_argument("an instruction needs \"text\", or \"kind\" and \"value\"");
  }
  instruction.pattern = data::optional_text(row, "pattern");
  if (!instruction.pattern.empty()) data::Pattern compiled(instruction.pattern);
  if (const auto* unseen = data::member(row, "unseen"); unseen != nullptr) {
    if (!unseen->is_boolean()) throw std::invalid_argument(fmt::format("\"unseen\" must be true or false, got {}", unseen->dump()));
    instruction.unseen = unseen->get<bool>();
  }
  return instruction;
}

// What stands behind "1.", "2)", "-" or "*" at the beginning of a line; the whole line where there is no such mark.
std::string_view without_mark(std::string_view line) {
  line = data::strip(line);
  const size_t digits = std::min(line.find_first_not_of("0123456789"), line.size());
  if (digits > 0 && digits < line.size() && (line[digits] == '.' || line[digits] == ')')) return data::strip(line.substr(digits + 1));
  if (line.starts_with("- ") || line.starts_with("* ")) return data::strip(line.substr(2));
  return line;
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char c : text)
    if (c == ' ')
      words.emplace_back();
    else
      words.back() += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return words;
}

// Whether an item is no name but a sentence: a refusal, a remark to the reader. It is long, begins as one who speaks does, holds a word
// of refusals, or a sentence ends inside: "!", "?", or a full stop behind a word in lower case ("Dr. King" is a name).
bool is_sentence(const std::string& item) {
  constexpr size_t kLongest = 60;
  static const std::set<std::string> openings = {"i",    "i'm",  "i'd",   "i'll",      "i've",          "as",   "we", "my", "it", "this",
                                                 "that", "here", "there", "certainly", "unfortunately", "sure", "no"};
  static const std::set<std::string> telling = {"sorry", "cannot", "can't", "won't", "don't", "unable", "please", "you", "your"};
  std::string text = item;
  for (const std::string_view curly = "\u2019"; text.find(curly) != std::string::npos;)
    text.replace(text.find(curly), curly.size(), "'");
  std::vector<std::string> words = words_of(text);
  for (std::string& word : words)
    while (!word.empty() && (word.back() == ',' || word.back() == ';'))
      word.pop_back();
  bool inside = text.ends_with('!') || text.ends_with('?') || text.find("! ") != std::string::npos || text.find("? ") != std::string::npos;
  for (size_t end = text.find(". "); end != std::string::npos; end = text.find(". ", end + 1)) {
    const size_t begin = text.find_last_of(' ', end == 0 ? 0 : end - 1) + 1;
    inside = inside || (text[begin] >= 'a' && text[begin] <= 'z');
  }
  return item.size() > kLongest || inside || openings.contains(words[0]) ||
         std::any_of(words.begin(), words.end(), [](const std::string& word) { return telling.contains(word); });
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace

std::vector<Instruction> read_instructions(const std::filesystem::path& path) {
  std::vector<Instruction> all;
  core::JsonlReader reader(path);
  for (nlohmann::json row; reader.next(row);) {
    all.push_back(data::with_place(reader.path(), reader.line(), [&] { return parse_instruction(row); }));
    all.back().line = reader.line();
  }
  if (all.empty()) throw core::DataError(path, 0, "holds no instruction");
  return all;
}

Instruction instruction_of(const std::string& name, const std::string& value) {
  const Kind& kind = kind_of(name);
  return {.text = filled(kind.text, value), .brief = filled(kind.brief, value), .kind = name, .value = value};
}

const std::vector<std::string>& built_in_kinds() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Kind& kind : kinds())
      list.push_back(kind.name);
    return list;
  }();
  return names;
}

Instruction combined(const std::vector<Instruction>& parts) {
  Instruction whole = parts.at(0);
  for (size_t i = 1; i < parts.size(); ++i) {
    const Instruction& part = parts[i];
    const bool terse = !whole.brief.empty() || !part.brief.empty();
    if (terse)
      whole.brief = fmt::format("{} {}", whole.brief.empty() ? whole.text : whole.brief, part.brief.empty() ? part.text : part.brief);
    whole.text += " " + part.text;
    whole.unseen = whole.unseen || part.unseen;
  }
  return whole;
}

std::vector<Instruction> pick_of_different_kinds(std::vector<Instruction> all, int64_t count, core::Stream& stream) {
  stream.shuffle(all);
  std::vector<Instruction> parts;
  std::set<std::string> kinds;
  for (Instruction& one : all)
    if (std::ssize(parts) < count && (one.kind.empty() || kinds.insert(one.kind).second)) parts.push_back(std::move(one));
  return parts;
}

std::vector<Instruction> draw_instructions(const std::vector<Instruction>& all, int64_t most, core::Stream& stream) {
  const auto count = static_cast<int64_t>(1 + stream.below(static_cast<uint64_t>(most)));
  return pick_of_different_kinds(all, count, stream);
}

std::string listing_prompt(const std::string& name, int64_t count) {
  return fmt::format("List {} different {}, one a line, with their names alone.", count, kind_of(name).plural);
}

Listing listed_values(const std::string& answer) {
  std::vector<std::string> lines = split(answer, '\n');
  if (lines.size() == 1) lines = split(answer, ',');
  Listing listed;
  for (const std::string& line : lines) {
    std::string value(without_mark(line));
    const bool ended = !value.empty() && (value.back() == '.' || value.back() == '!' || value.back() == '?');
    while (!value.empty() && (value.back() == '.' || value.back() == ',' || value.back() == ';'))
      value.pop_back();
    if (value.empty() || value.back() == ':') continue;
    const bool alone = lines.size() == 1 && value == data::strip(line).substr(0, value.size());  // and without a mark
    if (is_sentence(value) || (alone && ended && value.find(' ') != std::string::npos))
      ++listed.dropped;
    else if (std::find(listed.values.begin(), listed.values.end(), value) == listed.values.end())
      listed.values.push_back(value);
  }
  return listed;
}

}  // namespace keel::gatt
