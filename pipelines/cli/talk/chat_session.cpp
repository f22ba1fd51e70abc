#include "pipelines/cli/talk/chat_session.h"

#include <fmt/format.h>

#include <csignal>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/jsonl.h"
#include "core/terminal.h"
#include "core/utf8.h"
#include "data/answer_stream.h"
#include "data/messages.h"
#include "data/text.h"
#include "inference/dialogues.h"
#include "inference/prompts.h"
#include "inference/records.h"
#include "pipelines/cli/talk/terminal_input.h"
#include "pipelines/run/manifest.h"

namespace keel::pipelines::cli::talk {
namespace {

constexpr const char* kHelp =
    "Write what you want to say and press Enter. Ctrl-C ends an answer. Commands:\n"
    "  /undo       take back your last turn and its answer\n"
    "  /reset      begin anew; the system turn stays\n"
    "  /save FILE  add the dialogue to FILE as a row {\"messages\"}; answers that broke off get \"weight\": 0\n"
    "  /quit       end\n"
    "A line that begins with a blank is said as it is, also when a / follows.";

void show(const std::string& text) {
  std::cout << text << std::flush;
}

// Ctrl-C that came while the model worked has done its work; SIGTERM ends the command.
void forget_interrupt() {
  if (core::interrupt_signal() == SIGTERM) throw core::Interrupted("the chat was stopped; the dialogue is lost unless /save wrote it");
  core::clear_interrupt();
}

class ChatSession {
 public:
  explicit ChatSession(const ChatSetup& setup) : setup_(setup) {
    if (setup_.limit.max_tokens > 0) inference::room_for_prompt(setup_.limit.max_tokens, setup_.sampling.max_new_tokens);
    if (!setup_.system.empty()) dialogue_.messages.push_back({"system", setup_.system});
    try {
      render_with({"user", "a"}, setup_.limit.allow_tags ? data::TagPolicy::allow : data::TagPolicy::refuse);
    } catch (const std::invalid_argument& problem) {
      throw core::UsageError(fmt::format("--system: {}", problem.what()));
    }
  }

  void run() {
    if (setup_.interactive) show("/help lists the commands, /quit ends.\n");
    for (;;) {
      if (setup_.interactive) show("you> ");
      std::optional<std::string> line;
      try {
        line = read_line("the chat was stopped");
      } catch (const core::Interrupted&) {
        forget_interrupt();
        return;
      }
      if (!line || !obey(*line)) return;
    }
  }

 private:
  // What a person says, or a command; false at the end.
  bool obey(const std::string& line) {
    const std::string_view words = data::strip(line);
    if (words.empty()) return true;
    if (!line.starts_with('/')) {
      say(line);
      return true;
    }
    if (words == "/quit") return false;
    if (words == "/help") {
      tell(kHelp);
    } else if (words == "/reset") {
      dialogue_.messages.resize(first_turn());
      tell("(a new dialogue)");
    } else if (words == "/undo") {
      undo();
    } else if (words == "/save" || words.starts_with("/save ")) {
      save(std::string(data::strip(words.substr(5))));
    } else {
      tell(fmt::format("there is no command {}; /help lists them, and a line that begins with a blank is said as it is",
                       words.substr(0, words.find(' '))));
    }
    return true;
  }

  static void tell(const std::string& text) { show(core::harmless(text) + "\n"); }
  size_t first_turn() const { return setup_.system.empty() ? 0 : 1; }

  core::Ids render_with(const core::Message& turn, data::TagPolicy tags) const {
    core::Dialogue dialogue{{turn}};
    if (!setup_.system.empty()) dialogue.messages.insert(dialogue.messages.begin(), {"system", setup_.system});
    return data::render(setup_.model.format, *setup_.model.tokenizer, dialogue, tags).ids;
  }

  void undo() {
    if (dialogue_.messages.size() <= first_turn()) return tell("there is nothing to take back");
    dialogue_.messages.resize(dialogue_.messages.size() - 2);  // a turn is kept with its answer alone
    tell("(taken back)");
  }

  void save(const std::string& file) const {
    if (file.empty()) return tell("/save needs the name of a file: /save dialogues.jsonl");
    if (dialogue_.messages.size() <= first_turn()) return tell("there is nothing to save yet");
    try {
      run::check_outside_results(file);
      std::vector<nlohmann::json> rows;
      if (std::filesystem::exists(file)) {
        core::JsonlReader reader(file);
        for (nlohmann::json row; reader.next(row);)
          rows.push_back(row);
      }
      rows.push_back({{"messages", data::messages_json(dialogue_)}});
      core::write_jsonl(file, rows);
      tell(fmt::format("(row {} of {})", rows.size(), file));
    } catch (const core::Error& error) {
      tell(fmt::format("not saved: {}", error.what()));
    }
  }

  // The ids to answer; nothing, with a word to the person, where there are none.
  std::optional<core::Ids> prompt(const std::string& text) {
    try {
      core::require_utf8(text);
      // The person's text alone decides about tags: an answer may hold them.
      if (!setup_.limit.allow_tags) render_with({"user", text}, data::TagPolicy::refuse);
    } catch (const std::invalid_argument& problem) {
      tell(fmt::format("not sent: {}", problem.what()));
      return std::nullopt;
    }
    data::PromptSet set;
    set.records.emplace_back().messages = dialogue_;
    set.records[0].messages->messages.push_back({"user", text});
    inference::RenderPolicy limit = setup_.limit;
    limit.allow_tags = true;
    const auto record = inference::prompts_for(setup_.model, set, {.limit = limit}, setup_.sampling.max_new_tokens).at(0);
    if (!record.too_long.empty()) {
      tell(fmt::format("not sent: {}; /reset begins anew{}", record.too_long,
                       limit.drop_oldest_turns ? "" : ", and with --drop-oldest-turns the oldest turns would be left out"));
      return std::nullopt;
    }
    if (record.shortened) tell("(the whole does not fit any more: the model does not see the oldest turns)");
    return record.ids;
  }

  void say(const std::string& text) {
    const auto ids = prompt(text);
    if (!ids) return;
    if (setup_.interactive) show("model> ");
    data::AnswerStream stream(setup_.model.format, *setup_.model.tokenizer);
    const policy::GenerationJob job{.prompts = {*ids},
                                    .sampling = setup_.sampling,
                                    .stop_ids = data::stop_ids(setup_.model.format, *setup_.model.tokenizer),
                                    .seed = setup_.seed,
                                    .purpose = "chat",
                                    .records = {answers_++},  // asked again after /undo, the model may say something else
                                    .sampled = [&](int64_t, int64_t id) { show(core::harmless(stream.add(id))); }};
    std::string broken;
    try {
      const core::Sample sample = generator_.generate(job).at(0);
      if (sample.finish == core::FinishReason::length) broken = fmt::format("cut off after {} tokens", sample.ids.size());
    } catch (const core::Interrupted&) {
      broken = "stopped";
    }
    forget_interrupt();
    tell(stream.finish());
    const std::string answer = stream.text();
    if (broken == "stopped" && answer.empty()) return tell("(stopped before a word; your turn is taken back)");
    if (!broken.empty()) tell(fmt::format("({})", broken));
    dialogue_.messages.push_back({"user", text});
    dialogue_.messages.push_back({"assistant", answer, broken.empty()});
    score();
  }

  // Probabilities of the reward models, and which of two decides (paper 3.2.3; nobody says here that the prompt is about safety).
  void score() {
    if (setup_.scorers.empty()) return;
    std::vector<double> raw;
    std::string line;
    try {
      for (const ChatScorer& scorer : setup_.scorers) {
        const auto score = inference::score_dialogues(scorer.model, {dialogue_}).at(0);
        if (score) raw.push_back(*score);
        line += (line.empty() ? "[" : ", ") + scorer.name +
                (score ? fmt::format(" {:.3f} (raw {:.2f})", reward::probability(*score), *score)
                       : " none: the dialogue does not fit its limit");
      }
    } catch (const core::Interrupted&) {
      line += line.empty() ? "[not scored" : ", stopped";
    }
    forget_interrupt();
    if (setup_.gate && raw.size() == 2) {
      const bool safety = reward::safety_decides(raw[1], false, *setup_.gate);
      line += fmt::format(", combined {:.3f} ({} decides, gate {})", reward::combined_probability(raw[0], raw[1], false, *setup_.gate),
                          setup_.scorers[safety ? 1 : 0].name, setup_.gate->gate_threshold);
    }
    tell(line + "]");
  }

  const ChatSetup& setup_;
  policy::Generator generator_{setup_.model.llama, policy::kDialogueBytes};
  core::Dialogue dialogue_;  // its answered turns
  int64_t answers_ = 0;
};

}  // namespace

void chat(const ChatSetup& setup) {
  ChatSession(setup).run();
}

}  // namespace keel::pipelines::cli::talk
