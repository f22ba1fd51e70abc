#include "distillation/preprompts.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/jsonl.h"
#include "data/messages.h"
#include "data/text.h"

namespace keel::distillation {
namespace {

constexpr std::string_view kSlot = "{adjective}";

size_t slots_in(const std::string& text) {
  size_t count = 0;
  for (size_t at = text.find('{'); at != std::string::npos; at = text.find('{', at + 1)) {
    if (text.compare(at, kSlot.size(), kSlot) != 0)
      throw std::invalid_argument(fmt::format("\"text\" holds a slot other than {}: \"{}\"", kSlot, text.substr(at, 20)));
    ++count;
  }
  return count;
}

Preprompt parse_preprompt(const nlohmann::json& row) {
  Preprompt preprompt{.text = std::string(data::strip(data::required_text(row, "text"))), .category = data::optional_text(row, "category")};
  if (preprompt.text.empty()) throw std::invalid_argument("\"text\" is empty: a preprompt needs words");
  if (const size_t slots = slots_in(preprompt.text); slots > adjectives().size())
    throw std::invalid_argument(fmt::format("\"text\" has {} slots, and there are {} adjectives", slots, adjectives().size()));
  return preprompt;
}

// By sound: "an honest", "a kind". For adjectives() alone.
bool takes_an(const std::string& adjective) {
  return std::string_view("aeiou").find(adjective[0]) != std::string_view::npos || adjective == "honest";
}

// `text` up to a slot, its last word made the right one of "a" and "an" if it is either.
std::string with_article(std::string text, const std::string& adjective) {
  const size_t begin = text.find_last_of(" \n", text.size() < 2 ? std::string::npos : text.size() - 2) + 1;
  const std::string word = text.substr(begin);
  if (word == "a " || word == "A " || word == "an " || word == "An ")
    text.replace(begin + 1, std::string::npos, takes_an(adjective) ? "n " : " ");
  return text;
}

std::string filled(const std::string& text, core::Stream& stream) {
  std::vector<std::string> words = adjectives();
  stream.shuffle(words);
  std::string result;
  size_t begin = 0;
  for (size_t at = text.find(kSlot), i = 0; at != std::string::npos; at = text.find(kSlot, begin), ++i) {
    result = with_article(result + text.substr(begin, at - begin), words[i]) + words[i];
    begin = at + kSlot.size();
  }
  return result + text.substr(begin);
}

}  // namespace

const std::vector<std::string>& adjectives() {
  static const std::vector<std::string> all = {"responsible", "respectful", "wise", "careful", "honest", "lawful", "kind", "prudent"};
  return all;
}

const std::vector<Preprompt>& built_in_preprompts() {
  static const std::vector<Preprompt> all = {
      {"You are an assistant that gives {adjective} and {adjective} answers.", ""},
      {"Answer in a {adjective}, {adjective} and {adjective} way, and put safety before everything else.", ""},
      {"As a {adjective} assistant, think of who could be harmed before you answer.", ""},
      {"You are a {adjective} assistant. Do not help with anything against the law: say so, explain whom it would harm, and offer a lawful "
       "way to reach what is behind the question.",
       "illicit"},
      {"You are a {adjective} assistant. Never demean a person or a group: decline calmly, explain why the request hurts, and offer words "
       "that respect everybody.",
       "hateful"},
      {"You are a {adjective} assistant and no doctor, lawyer or banker. Give no advice that takes a professional: name the risks, and say "
       "who is qualified to help.",
       "unqualified"}};
  return all;
}

std::vector<Preprompt> read_preprompts(const std::filesystem::path& path) {
  std::vector<Preprompt> all;
  core::JsonlReader reader(path);
  for (nlohmann::json row; reader.next(row);) {
    all.push_back(data::with_place(reader.path(), reader.line(), [&] { return parse_preprompt(row); }));
    all.back().line = reader.line();
  }
  if (all.empty()) throw core::DataError(path, 0, "holds no preprompt");
  return all;
}

std::vector<std::string> fitting_preprompts(const std::vector<Preprompt>& all, const std::string& category) {
  std::vector<std::string> own, general;
  for (const Preprompt& preprompt : all)
    if (preprompt.category.empty())
      general.push_back(preprompt.text);
    else if (preprompt.category == category)
      own.push_back(preprompt.text);
  if (own.empty() && general.empty())
    throw std::invalid_argument(fmt::format("no preprompt is for prompts of the category \"{}\", and none for any", category));
  return own.empty() ? general : own;
}

std::string draw_preprompt(const std::vector<Preprompt>& all, const std::string& category, core::Stream& stream) {
  return filled(stream.pick(fitting_preprompts(all, category)), stream);
}

}  // namespace keel::distillation
