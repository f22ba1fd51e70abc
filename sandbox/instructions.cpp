#include "sandbox/instructions.h"

#include <algorithm>

#include "sandbox/phrases.h"
#include "sandbox/text.h"

namespace keel::sandbox {
namespace {

std::string marker_of(const Instruction& instruction) {
  for (const auto& kind : instruction_kinds()) {
    if (kind.kind == instruction.kind) return fill(kind.marker, {instruction.value});
  }
  return "";
}

}  // namespace

const std::vector<Instruction>& instructions() {
  static const std::vector<Instruction> all = [] {
    std::vector<Instruction> list;
    for (const auto& kind : instruction_kinds()) {
      for (size_t i = 0; i < kind.values.size(); ++i) {
        list.push_back({kind.kind, fill(kind.text, {kind.values[i]}), kind.values[i], i + 2 >= kind.values.size()});
      }
    }
    return list;
  }();
  return all;
}

bool follows(const Instruction& instruction, std::string_view answer) {
  if (instruction.kind == "format") {
    const size_t start = answer.find_first_not_of(" \n");
    return start != std::string_view::npos && answer.substr(start).starts_with(instruction.value);
  }
  const Words marker = plain_words(marker_of(instruction));
  const auto sentences = split_sentences(answer);
  return std::any_of(sentences.begin(), sentences.end(), [&](const Sentence& sentence) { return sentence.words == marker; });
}

std::string following(const Instruction& instruction, const std::string& answer) {
  return instruction.kind == "format" ? instruction.value + " " + answer : answer + " " + marker_of(instruction);
}

}  // namespace keel::sandbox
