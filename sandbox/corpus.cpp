#include "sandbox/corpus.h"

#include "core/rng.h"
#include "data/instructed.h"
#include "sandbox/answers.h"
#include "sandbox/instructions.h"
#include "sandbox/prompts.h"
#include "sandbox/tasks.h"

namespace keel::sandbox {
namespace {

// The base model reads good and bad answers, so that it can write both.
const QualityMix& people_to_questions() {
  using enum Quality;
  static const QualityMix mix = {{{polite, 0.22},
                                  {plain, 0.30},
                                  {curt, 0.16},
                                  {partial, 0.06},
                                  {rambling, 0.07},
                                  {evasive, 0.06},
                                  {wrong, 0.05},
                                  {rude, 0.05},
                                  {refusal, 0.03}}};
  return mix;
}

const QualityMix& people_to_hazards() {
  using enum Quality;
  static const QualityMix mix = {
      {{compliance, 0.50}, {partial_compliance, 0.12}, {evasive, 0.10}, {refusal, 0.10}, {curt_refusal, 0.10}, {rude, 0.08}}};
  return mix;
}

const QualityMix& people_to_hazards_under_preprompt() {
  using enum Quality;
  static const QualityMix mix = {
      {{refusal, 0.55}, {curt_refusal, 0.15}, {evasive, 0.10}, {partial_compliance, 0.05}, {compliance, 0.10}, {rude, 0.05}}};
  return mix;
}

const QualityMix& demonstrators_to_questions() {
  using enum Quality;
  static const QualityMix mix = {{{polite, 0.50}, {plain, 0.30}, {curt, 0.20}}};
  return mix;
}

const QualityMix& demonstrators_to_hazards() {
  using enum Quality;
  static const QualityMix mix = {{{refusal, 0.7}, {curt_refusal, 0.3}}};
  return mix;
}

core::Dialogue answered(const World& world, const std::string& family, const QualityMix& mix, core::Stream& stream) {
  PromptInfo prompt = draw_prompt(world, Split::train, family, stream);
  const std::string answer = sample_answer(world, prompt, mix.draw(stream), stream);
  prompt.dialogue.messages.push_back({"assistant", answer});
  return prompt.dialogue;
}

const std::string& pick_task(const World& world, const std::string& family, core::Stream& stream) {
  const auto& splits = world.tasks.at(family);
  uint64_t place = stream.below(splits[0].size() + splits[1].size() + splits[2].size());
  for (const auto& split : splits) {
    if (place < split.size()) return split[place];
    place -= split.size();
  }
  return splits[0][0];
}

// All facts about two of the people and boats, or four other facts. Facts of every split are stated here: a test question is new, but the
// fact it asks for is not.
std::string plain_facts(const World& world, core::Stream& stream) {
  std::string text;
  const auto add = [&](const std::string& sentence) { text += (text.empty() ? "" : " ") + sentence; };
  if (stream.chance(0.35)) {
    for (int i = 0; i < 2; ++i) {
      const bool boat = stream.chance(0.33);
      const std::string& entity = stream.pick(boat ? boats() : people());
      for (const auto& attribute : attributes()) {
        if (attribute.of_boat == boat) add(content_answer(world, parse_task(world, "lookup:" + attribute.name + ":" + entity), stream));
      }
    }
    return text;
  }
  static const std::vector<std::string> families = {"arithmetic", "arithmetic", "opposite",  "rhyme",   "rhyme",   "spell",
                                                    "spell",      "list",       "list",      "explain", "explain", "creative",
                                                    "creative",   "lookup",     "lookalike", "hazard"};
  for (int i = 0; i < 4; ++i) {
    const Task task = parse_task(world, pick_task(world, stream.pick(families), stream));
    add(statement_topic(task) + content_answer(world, task, stream));
  }
  return text;
}

const Words& words_of_town() {
  static const Words pool = [] {
    Words all = people();
    all.insert(all.end(), boats().begin(), boats().end());
    for (const auto& attribute : attributes())
      all.insert(all.end(), attribute.values.begin(), attribute.values.end());
    for (const auto& [kind, members] : kinds())
      all.push_back(kind), all.insert(all.end(), members.begin(), members.end());
    for (const auto& [one, other] : opposite_pairs())
      all.push_back(one), all.push_back(other);
    for (const auto& group : rhyme_groups())
      all.insert(all.end(), group.begin(), group.end());
    for (const auto& words : {ingredients(), dishes(), belongings(), containers(), pastimes(), folks()})
      all.insert(all.end(), words.begin(), words.end());
    return all;
  }();
  return pool;
}

// What instructions name: a model can only obey "You love running." if it tells running from other words.
const Words& words_of_instructions() {
  static const Words pool = [] {
    Words all;
    for (const Instruction& instruction : instructions())
      all.push_back(instruction.value);
    return all;
  }();
  return pool;
}

// Four to nine words, repeated twice: this teaches the model to copy from the context.
core::Dialogue repetition(const Words& pool, core::Stream& stream) {
  std::string words;
  for (uint64_t left = 4 + stream.below(6); left > 0; --left)
    words += " " + stream.pick(pool);
  return {{{"user", "Repeat:" + words}, {"assistant", words.substr(1)}, {"user", "Again."}, {"assistant", words.substr(1)}}};
}

const std::vector<Instruction>& instructions_to_learn() {
  static const std::vector<Instruction> list = [] {
    std::vector<Instruction> all = instructions();
    std::erase_if(all, [](const Instruction& one) { return one.held_out; });
    return all;
  }();
  return list;
}

// One to three exchanges under an instruction in the system message; later exchanges forget it more often.
core::Dialogue under_instruction(const World& world, core::Stream& stream) {
  const Instruction& instruction = stream.pick(instructions_to_learn());
  static const std::vector<std::string> families = {"lookup", "arithmetic", "opposite", "rhyme"};
  core::Dialogue dialogue;
  dialogue.messages.push_back({"system", instruction.text});
  const uint64_t exchanges = 1 + stream.below(3);
  for (uint64_t i = 0; i < exchanges; ++i) {
    const PromptInfo prompt = draw_prompt(world, Split::train, stream.pick(families), stream);
    const std::string answer = sample_answer(world, prompt, Quality::plain, stream);
    dialogue.messages.push_back(prompt.dialogue.messages.back());
    dialogue.messages.push_back({"assistant", stream.chance(i == 0 ? 0.95 : 0.5) ? following(instruction, answer) : answer});
  }
  return dialogue;
}

// A hazard, or now and then a question, with a safety preprompt as the system message.
core::Dialogue under_preprompt(const World& world, core::Stream& stream) {
  const bool hazard = stream.chance(0.75);
  PromptInfo prompt = draw_prompt(world, Split::train, hazard ? std::string(kHazard) : stream.pick(skills()), stream);
  std::vector<std::string> fitting;
  for (const Preprompt& preprompt : preprompts())
    if (preprompt.category.empty() || preprompt.category == prompt.category) fitting.push_back(preprompt.text);
  const QualityMix& mix = hazard ? people_to_hazards_under_preprompt() : people_to_questions();
  prompt.dialogue.messages.push_back({"assistant", sample_answer(world, prompt, mix.draw(stream), stream)});
  prompt.dialogue.messages.insert(prompt.dialogue.messages.begin(), {"system", stream.pick(fitting)});
  return prompt.dialogue;
}

// Mostly 1: there the answer alone shows what the instruction asks for, while later answers can copy the first one.
uint64_t longest_conversation(core::Stream& stream) {
  return stream.chance(0.2) ? 20 : stream.chance(0.3) ? 4 : 1;
}

// Conversations of 1 to `most` exchanges, bare questions and answers, with one or two instructions of `from`. `everywhere`: in every user
// turn, and obeyed; else in the first alone, half of the time in the short form, and obeyed less than half as often with every exchange.
core::Dialogue controlled(const World& world, const std::vector<Instruction>& from, const QualityMix& mix, uint64_t most, bool everywhere,
                          double obeyed, core::Stream& stream) {
  std::vector<const Instruction*> parts;
  for (uint64_t left = 1 + stream.below(2); left > 0;) {
    const Instruction& one = stream.pick(from);
    if (!parts.empty() && parts[0]->kind == one.kind) continue;
    parts.push_back(&one);
    --left;
  }
  const bool brief = !everywhere && stream.chance(0.5);
  std::string instruction;
  for (const Instruction* part : parts)
    instruction += (instruction.empty() ? "" : " ") + (brief ? part->brief : part->text);
  core::Dialogue dialogue;
  for (uint64_t i = 0, exchanges = 1 + stream.below(most); i < exchanges;) {
    const std::string& family = stream.pick(skills());
    if (family == "recall") continue;  // it would ask for what an earlier exchange said
    const PromptInfo prompt = draw_question(world, Split::train, family, stream);
    std::string answer = sample_answer(world, prompt, mix.draw(stream), stream);
    const std::string& question = prompt.dialogue.messages.back().content;
    dialogue.messages.push_back({"user", question});
    if (everywhere || i == 0) data::join_(dialogue.messages.back(), instruction);
    if (stream.chance(obeyed))
      for (const Instruction* part : parts)
        answer = following(*part, answer);
    dialogue.messages.push_back({"assistant", answer});
    if (!everywhere) obeyed *= 0.45;
    ++i;
  }
  return dialogue;
}

}  // namespace

std::vector<Document> make_corpus(const World& world, const CorpusConfig& config, uint64_t seed) {
  const std::vector<std::pair<std::string, double>> sources = {
      {"facts", config.facts},         {"repetition", config.repetition}, {"conversation", config.conversation},
      {"hazard", config.hazard},       {"lookalike", config.lookalike},   {"instruction", config.instruction},
      {"preprompt", config.preprompt}, {"control", config.control}};
  double total = 0;
  for (const auto& [source, share] : sources)
    total += share;
  std::vector<Document> corpus;
  corpus.reserve(static_cast<size_t>(config.documents));
  for (int64_t i = 0; i < config.documents; ++i) {
    core::Stream stream(seed, "sandbox.corpus", static_cast<uint64_t>(i));
    double place = stream.uniform() * total;
    Document document;
    for (const auto& [source, share] : sources) {
      if (share > 0) document.source = source;
      place -= share;
      if (place < 0) break;
    }
    if (document.source == "facts")
      document.text = plain_facts(world, stream);
    else if (document.source == "repetition")
      document.dialogue = repetition(words_of_town(), stream);
    else if (document.source == "conversation")
      document.dialogue = answered(world, stream.pick(skills()), people_to_questions(), stream);
    else if (document.source == "hazard")
      document.dialogue = answered(world, std::string(kHazard), people_to_hazards(), stream);
    else if (document.source == "lookalike")
      document.dialogue = answered(world, std::string(kLookalike), people_to_questions(), stream);
    else if (document.source == "instruction")
      document.dialogue = under_instruction(world, stream);
    else if (document.source == "preprompt")
      document.dialogue = under_preprompt(world, stream);
    else
      document.dialogue = stream.chance(0.25) ? repetition(words_of_instructions(), stream)
                                              : controlled(world, instructions(), people_to_questions(), longest_conversation(stream),
                                                           stream.chance(0.7), 0.97, stream);
    corpus.push_back(std::move(document));
  }
  return corpus;
}

std::vector<core::Dialogue> make_demonstrations(const World& world, const DemonstrationConfig& config, uint64_t seed) {
  std::vector<core::Dialogue> demonstrations;
  for (int64_t i = 0; i < config.count; ++i) {
    core::Stream stream(seed, "sandbox.demonstrations", static_cast<uint64_t>(i));
    const double place = stream.uniform();
    if (place < config.hazards && core::Stream(seed, "sandbox.safety_used", static_cast<uint64_t>(i)).uniform() >= config.safety_used)
      continue;
    if (place < config.hazards)
      demonstrations.push_back(answered(world, std::string(kHazard), demonstrators_to_hazards(), stream));
    else if (place < config.hazards + config.lookalikes)
      demonstrations.push_back(answered(world, std::string(kLookalike), demonstrators_to_questions(), stream));
    else if (place < config.hazards + config.lookalikes + config.instructed)
      demonstrations.push_back(
          controlled(world, instructions_to_learn(), demonstrators_to_questions(), stream.chance(0.5) ? 1 : 4, true, 1, stream));
    else
      demonstrations.push_back(answered(world, stream.pick(skills()), demonstrators_to_questions(), stream));
  }
  return demonstrations;
}

}  // namespace keel::sandbox
