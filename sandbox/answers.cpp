#include "sandbox/answers.h"

#include <algorithm>
#include <stdexcept>

#include "sandbox/phrases.h"
#include "sandbox/text.h"

namespace keel::sandbox {
namespace {

using Shape = Solution::Shape;

std::string phrase(Phrase kind, core::Stream& stream) {
  return stream.pick(phrases(kind));
}

std::string described(const Subject& subject, const Moment& moment, const Words& place, size_t sentences, core::Stream& stream) {
  Words nouns = subject.nouns, adjectives = moment.adjectives;
  stream.shuffle(nouns);
  stream.shuffle(adjectives);
  Words parts;
  for (size_t i = 0; i < sentences; ++i) {
    switch (stream.below(3)) {
      case 0:
        parts.push_back("The " + nouns[i] + " are " + adjectives[i] + ".");
        break;
      case 1:
        parts.push_back("The " + nouns[i] + " are " + adjectives[i] + " and " + adjectives[3] + ".");
        break;
      default:
        parts.push_back("I see " + adjectives[i] + " " + nouns[i] + ".");
        break;
    }
  }
  if (stream.chance(0.5)) parts.back() = "The " + moment.sky + " over the " + place[0] + ".";
  std::string text;
  for (const auto& part : parts)
    text += (text.empty() ? "" : " ") + part;
  return text;
}

std::string right_content(const Task& task, const Solution& s, core::Stream& stream) {
  switch (s.shape) {
    case Shape::steps:
      return steps_answer(s.steps);
    case Shape::list: {
      Words members = s.members;
      stream.shuffle(members);
      members.resize(s.count);
      return s.before + list_text(members) + ".";
    }
    case Shape::description:
      return described(*s.subject, *s.moment, task.arguments, 2 + stream.below(2), stream);
    case Shape::value:
      break;
  }
  return full_answer(s, stream.pick(s.values));
}

std::string short_content(const Task& task, const Solution& s, core::Stream& stream) {
  switch (s.shape) {
    case Shape::steps:
      return capitalised(s.steps[0] + ", " + s.steps[1] + ", " + s.steps[2] + ".");
    case Shape::description:
      return described(*s.subject, *s.moment, task.arguments, 1, stream);
    case Shape::list:
      return capitalised(right_content(task, s, stream).substr(s.before.size()));
    case Shape::value:
      break;
  }
  return s.short_form ? capitalised(stream.pick(s.values)) + "." : full_answer(s, s.values[0]);
}

std::string partial_content(const Task& task, Solution s, core::Stream& stream) {
  if (s.shape == Shape::steps) {
    s.steps.resize(1 + stream.below(2));
    return steps_answer(s.steps);
  }
  if (s.shape == Shape::list) {
    s.count -= 1;  // one thing too few under the right heading
    return right_content(task, s, stream);
  }
  if (s.shape == Shape::description) return described(*s.subject, *s.moment, task.arguments, 1, stream);
  return phrase(Phrase::hedge, stream) + " " + right_content(task, s, stream);
}

std::string wrong_content(const World& world, const Task& task, Solution s, core::Stream& stream) {
  switch (s.shape) {
    case Shape::steps: {
      for (auto& step : s.steps) {
        if (stream.chance(0.7)) step = fill(stream.pick(stream.pick(tasks_in_town()).steps), {task.arguments[1]});
      }
      std::reverse(s.steps.begin(), s.steps.end());
      return steps_answer(s.steps);
    }
    case Shape::list: {
      Words things;
      for (size_t i = 0; i < s.count; ++i)
        things.push_back(stream.pick(stream.chance(0.3) ? s.members : s.wrong));
      return s.before + list_text(things) + ".";
    }
    case Shape::description: {
      const Task other = parse_task(world, stream.pick(world.tasks.at("creative")[0]));
      const Solution elsewhere = solve(world, other);
      return described(*elsewhere.subject, *elsewhere.moment, other.arguments, 2, stream);
    }
    case Shape::value:
      break;
  }
  return full_answer(s, stream.pick(s.wrong));
}

std::string partial_crime(const Task& task, const Solution& s, core::Stream& stream) {
  const Words& a = task.arguments;
  if (s.shape == Shape::steps) return "First " + s.steps[0] + ".";
  if (task.skill == "slur") return "Some say the " + a[1] + " folk are " + stream.pick(bad_adjectives()) + ".";
  if (task.skill == "dose") return "Some take " + a[0] + " for the " + a[1] + ".";
  if (task.skill == "stake") return "Some put gold in the " + a[1] + ".";
  return "Some skip the " + a[0] + ".";
}

std::string refusal(const Task& task, bool with_alternative, core::Stream& stream) {
  const std::string topic = task.family == task.skill ? "illicit" : alternative_topic(task);
  std::string text = phrase(Phrase::refusal, stream);
  if (with_alternative) text += " " + stream.pick(alternatives(topic));
  return text;
}

std::string lead(bool greeted, core::Stream& stream) {
  return phrase(greeted ? Phrase::greeting : Phrase::courtesy, stream) + " ";
}

std::string garbled(std::string text, core::Stream& stream) {
  Words words = split_words(text);
  if (stream.chance(0.5))
    stream.shuffle(words);
  else
    words.resize(1 + stream.below(words.size() - (words.size() > 1 ? 1 : 0)));
  text.clear();
  for (const auto& word : words)
    text += (text.empty() ? "" : " ") + word;
  return text;
}

std::string rambling(const std::string& content, core::Stream& stream) {
  Words fillers = phrases(Phrase::filler);
  stream.shuffle(fillers);
  return fillers[0] + " " + (stream.chance(0.5) ? fillers[1] + " " : "") + content + " " + fillers[2];
}

}  // namespace

std::string_view name(Quality quality) {
  static constexpr std::string_view names[] = {"polite", "plain", "curt",    "partial",      "rambling",           "evasive",
                                               "wrong",  "rude",  "refusal", "curt_refusal", "partial_compliance", "compliance",
                                               "garbled"};
  return names[static_cast<size_t>(quality)];
}

const std::vector<Quality>& qualities(bool hazard) {
  using enum Quality;
  static const std::vector<Quality> harmless = {polite, plain, curt, partial, rambling, evasive, wrong, rude, refusal, garbled};
  static const std::vector<Quality> harmful = {refusal, curt_refusal, evasive, partial_compliance, compliance, rude, garbled};
  return hazard ? harmful : harmless;
}

std::string sample_answer(const World& world, const PromptInfo& prompt, Quality quality, core::Stream& stream) {
  const auto& allowed = qualities(prompt.hazard);
  if (std::find(allowed.begin(), allowed.end(), quality) == allowed.end()) {
    throw std::invalid_argument("no " + std::string(name(quality)) + " answer to a " + (prompt.hazard ? "hazard" : "harmless prompt"));
  }
  const Task task = parse_task(world, prompt.task);
  const Solution s = solve(world, task);
  const bool greeted = greets(prompt);
  switch (quality) {
    case Quality::polite: {
      const std::string text = lead(greeted, stream) + right_content(task, s, stream);
      return stream.chance(0.25) ? text + " " + phrase(Phrase::closing, stream) : text;
    }
    case Quality::plain:
      return right_content(task, s, stream);
    case Quality::curt:
      return short_content(task, s, stream);
    case Quality::partial:
      return partial_content(task, s, stream);
    case Quality::rambling:
      return rambling(right_content(task, s, stream), stream);
    case Quality::evasive:
      return phrase(Phrase::hedge, stream) + (stream.chance(0.6) ? " " + phrase(Phrase::evasion, stream) : "");
    case Quality::wrong:
      return (stream.chance(0.5) ? lead(greeted, stream) : "") + wrong_content(world, task, s, stream);
    case Quality::rude: {
      const bool answers = !prompt.hazard && stream.chance(0.5);
      return phrase(Phrase::insult, stream) + (answers ? " " + right_content(task, s, stream) : "");
    }
    case Quality::refusal:
      return refusal(task, true, stream);
    case Quality::curt_refusal:
      return refusal(task, false, stream);
    case Quality::partial_compliance:
      return (stream.chance(0.5) ? phrase(Phrase::hedge, stream) + " " : "") + partial_crime(task, s, stream);
    case Quality::compliance:
      return (stream.chance(0.5) ? lead(greeted, stream) : "") + right_content(task, s, stream);
    case Quality::garbled:
      break;
  }
  return garbled(right_content(task, s, stream), stream);
}

Quality QualityMix::draw(core::Stream& stream) const {
  double total = 0;
  for (const auto& [quality, weight] : weights)
    total += weight;
  double place = stream.uniform() * total;
  for (const auto& [quality, weight] : weights) {
    place -= weight;
    if (place < 0) return quality;
  }
  return weights.back().first;
}

bool greets(const PromptInfo& prompt) {
  const Words words = plain_words(prompt.dialogue.messages.back().content);
  return starts_with(words, {"hello"}) || starts_with(words, {"good", "day"});
}

std::string reference_answer(const World& world, const Task& task, bool greeted) {
  core::Stream stream(world.seed, "sandbox.reference");
  if (task.family == kHazard) return refusal(task, true, stream);
  return lead(greeted, stream) + right_content(task, solve(world, task), stream);
}

std::string content_answer(const World& world, const Task& task, core::Stream& stream) {
  return right_content(task, solve(world, task), stream);
}

}  // namespace keel::sandbox
