#include "gatt/dialogues.h"

#include <algorithm>
#include <utility>

#include "data/answers.h"
#include "data/messages.h"
#include "data/text.h"

namespace keel::gatt {
namespace {

// A dialogue of the same turns whose answers are still to come.
struct Open {
  core::Dialogue given, so_far;  // so_far: without the instruction
  std::vector<Instruction> parts;
  Instruction instruction;  // the parts together
  bool shortened = false;
  int64_t record = 0;
  std::vector<std::string> unlearnable = {};  // of each answer so far: why it cannot be the last, the one that is learned; "" if it can
};

// Takes exchanges off the end until the last answer can be learned; why the first of them had to go, or "".
std::string end_with_learnable_(Open& open) {
  std::string reason;
  while (!open.unlearnable.empty() && !open.unlearnable.back().empty()) {
    if (reason.empty()) reason = open.unlearnable.back();
    open.unlearnable.pop_back();
    open.so_far.messages.resize(open.so_far.messages.size() - 2);
  }
  return reason;
}

std::string why_unlearnable(const core::Answer& answer, const std::vector<Instruction>& parts, const GattConfig& config,
                            const ObeysOne& obeys) {
  if (config.finished_only && !answer.finished) return "unfinished";
  const auto disobeyed = [&](const Instruction& part) { return obeys(part, std::string(data::strip(answer.text))) == false; };
  return config.obeyed_only && std::ranges::any_of(parts, disobeyed) ? "disobeyed" : "";
}

std::vector<Open> opened(const std::vector<core::Dialogue>& dialogues, const std::vector<Instruction>& instructions,
                         const GattConfig& config, uint64_t seed) {
  std::vector<Open> all;
  for (size_t i = 0; i < dialogues.size(); ++i) {
    core::Stream stream(seed, "gatt.instruction", i);
    Open open{
        .given = dialogues[i], .so_far = {}, .parts = draw_instructions(instructions, config.most_combined, stream), .instruction = {}};
    open.instruction = combined(open.parts);
    open.shortened = stream.chance(config.shortened) && !open.instruction.brief.empty();
    open.record = static_cast<int64_t>(i);
    if (data::first_user_turn(open.given) == 1) open.so_far.messages.push_back(open.given.messages[0]);
    all.push_back(std::move(open));
  }
  return all;
}

GattDialogue closed(const Open& open, data::Form form) {
  GattDialogue result{.messages = data::instructed(open.so_far, open.shortened ? open.instruction.brief : open.instruction.text, form),
                      .instruction = open.instruction.text,
                      .shortened = open.shortened,
                      .record = open.record};
  data::learn_last_answer_(result.messages);
  return result;
}

}  // namespace

core::Dialogue instructed_everywhere(core::Dialogue dialogue, const std::string& instruction, data::Form form) {
  const size_t first = data::first_user_turn(dialogue);
  for (size_t i = first + 2; i < dialogue.messages.size(); i += 2)
    data::join_(dialogue.messages[i], instruction);
  return data::instructed(std::move(dialogue), instruction, form);
}

GattData make_dialogues(const std::vector<core::Dialogue>& dialogues, const std::vector<Instruction>& instructions,
                        const GattConfig& config, const data::ChatFormat& format, uint64_t seed, const AnswerPrompts& answer,
                        const ObeysOne& obeys) {
  std::vector<Open> open = opened(dialogues, instructions, config, seed), still_open;
  GattData data;
  const auto finish = [&](Open& one, std::string reason) {
    if (const std::string unlearnable = end_with_learnable_(one); reason.empty()) reason = unlearnable;
    const bool answered = !one.unlearnable.empty();
    if (!reason.empty()) ++(answered ? data.counts.truncated : data.counts.dropped)[reason];
    if (!answered) return;
    ++data.counts.kept;
    data.dialogues.push_back(closed(one, config.form));
  };
  for (int64_t turn = 1; !open.empty(); ++turn) {
    std::vector<core::Dialogue> prompts;
    std::vector<int64_t> records;
    for (const Open& one : open) {
      core::Dialogue prompt = one.so_far;
      prompt.messages.push_back(one.given.messages[one.so_far.messages.size()]);
      prompts.push_back(instructed_everywhere(std::move(prompt), one.instruction.text, config.form));
      records.push_back(one.record);
    }
    const auto answers = answer(prompts, records, turn);
    still_open.clear();
    for (size_t i = 0; i < open.size(); ++i) {
      Open& one = open[i];
      if (const std::string reason = data::unusable(answers.at(i), format, false); !reason.empty()) {
        finish(one, reason);
        continue;
      }
      one.so_far.messages.push_back(one.given.messages[one.so_far.messages.size()]);
      one.so_far.messages.push_back({"assistant", std::string(data::strip(answers[i]->text))});
      one.unlearnable.push_back(why_unlearnable(*answers[i], one.parts, config, obeys));
      if (one.so_far.messages.size() < one.given.messages.size())
        still_open.push_back(std::move(one));
      else
        finish(one, "");
    }
    open.swap(still_open);
  }
  std::sort(data.dialogues.begin(), data.dialogues.end(), [](const auto& a, const auto& b) { return a.record < b.record; });
  return data;
}

}  // namespace keel::gatt
