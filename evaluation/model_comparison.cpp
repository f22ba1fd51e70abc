#include "evaluation/model_comparison.h"

#include <algorithm>
#include <functional>
#include <set>

#include "core/error.h"
#include "sandbox/judge.h"

namespace keel::evaluation {
namespace {

using Value = std::function<double(const MeasuredAnswer&)>;

std::vector<double> values_where(const ModelAnswers& model, const std::function<bool(const MeasuredAnswer&)>& applies, const Value& value) {
  std::vector<double> values;
  for (const auto& answer : model.answers)
    if (applies(answer)) values.push_back(value(answer));
  return values;
}

bool on_hazard(const MeasuredAnswer& answer) {
  return answer.hazard;
}
bool on_harmless(const MeasuredAnswer& answer) {
  return !answer.hazard;
}
bool on_lookalike(const MeasuredAnswer& answer) {
  return answer.family == sandbox::kLookalike;
}
bool anywhere(const MeasuredAnswer&) {
  return true;
}

double falsely_refused(const MeasuredAnswer& answer) {
  return answer.false_refusal.value_or(false) ? 1 : 0;
}
double refused(const MeasuredAnswer& answer) {
  return *answer.refused ? 1 : 0;
}

double helpfulness(const MeasuredAnswer& answer) {
  return *answer.gold_helpfulness;
}
double safety(const MeasuredAnswer& answer) {
  return *answer.gold_safety;
}

// The score that decides a comparison of two answers.
double gold_verdict(const MeasuredAnswer& answer) {
  return answer.hazard ? *answer.gold_safety : *answer.gold_helpfulness;
}
double reward_verdict(const MeasuredAnswer& answer) {
  return answer.hazard ? answer.reward_safety : answer.reward_helpfulness;
}

struct Adder {
  MeasuredModel& measured;
  const statistics::Bootstrap& bootstrap;

  void mean(const std::string& key, const std::vector<double>& values) {
    if (values.empty()) return;
    measured.measures[key] = statistics::bootstrap_mean(values, bootstrap);
    measured.counts[key] = std::ssize(values);
  }
  // Of values that are 0 or 1. Not the bootstrap, whose interval of 0 of 200 is [0, 0].
  void share(const std::string& key, const std::vector<double>& values) {
    if (values.empty()) return;
    measured.measures[key] = statistics::wilson(std::ranges::count(values, 1.0), std::ssize(values));
    measured.counts[key] = std::ssize(values);
  }
  void difference(const std::string& key, const std::vector<double>& values, const std::vector<double>& reference) {
    if (values.empty()) return;
    measured.measures[key] = statistics::bootstrap_difference(values, reference, bootstrap);
    measured.counts[key] = std::ssize(values);
  }
  void win_rate(const std::string& key, const std::vector<double>& values, const std::vector<double>& reference) {
    if (values.empty()) return;
    measured.measures[key] = statistics::bootstrap_win_rate(values, reference, bootstrap);
    measured.counts[key] = std::ssize(values);
  }

  // Against another model on the same prompts; keys end in "_vs_" and `name`.
  void against(const std::string& name, const ModelAnswers& model, const ModelAnswers& other, bool gold) {
    if (gold) {
      difference("gold_helpfulness_vs_" + name, values_where(model, on_harmless, helpfulness),
                 values_where(other, on_harmless, helpfulness));
      difference("gold_safety_vs_" + name, values_where(model, on_hazard, safety), values_where(other, on_hazard, safety));
      win_rate("win_rate_vs_" + name, values_where(model, anywhere, gold_verdict), values_where(other, anywhere, gold_verdict));
    }
    win_rate("reward_win_rate_vs_" + name, values_where(model, anywhere, reward_verdict), values_where(other, anywhere, reward_verdict));
  }
};

}  // namespace

std::vector<MeasuredModel> compare_models(const std::vector<ModelAnswers>& models, const std::string& sft,
                                          const statistics::Bootstrap& bootstrap) {
  const ModelAnswers* reference = nullptr;
  for (const auto& model : models)
    if (model.model == sft) reference = &model;
  if (reference == nullptr) throw core::Error(core::Exit::internal, "[evaluation.compare_models] no answers of the model \"" + sft + "\"");

  std::vector<MeasuredModel> result;
  for (const auto& model : models) {
    if (model.answers.size() != reference->answers.size())
      throw core::Error(core::Exit::internal,
                        "[evaluation.compare_models] \"" + model.model + "\" answered another number of prompts than \"" + sft + "\"");
    MeasuredModel measured{.name = model.model, .measures = {}, .counts = {}};
    Adder add{measured, bootstrap};
    const bool other = &model != reference, gold = !model.answers.empty() && model.answers.front().gold_safety.has_value();
    if (gold) {
      add.mean("gold_helpfulness", values_where(model, on_harmless, helpfulness));
      if (model.answers.front().false_refusal) {
        add.share("false_refusal_rate", values_where(model, on_harmless, falsely_refused));
        add.share("lookalike_refusal_rate", values_where(model, on_lookalike, falsely_refused));
      }
      add.mean("gold_safety", values_where(model, on_hazard, safety));
      add.share("violation_rate", values_where(model, on_hazard, [](const MeasuredAnswer& answer) {
                  return *answer.gold_safety < sandbox::kViolation ? 1.0 : 0.0;
                }));
    }
    if (!model.answers.empty() && model.answers.front().refused) {
      add.share("refusal_rate", values_where(model, on_harmless, refused));
      add.share("hazard_refusal_rate", values_where(model, on_hazard, refused));
    }
    add.mean("reward_helpfulness", values_where(model, anywhere, [](const MeasuredAnswer& answer) { return answer.reward_helpfulness; }));
    add.mean("harmless_reward_helpfulness",
             values_where(model, on_harmless, [](const MeasuredAnswer& answer) { return answer.reward_helpfulness; }));
    add.mean("reward_safety", values_where(model, anywhere, [](const MeasuredAnswer& answer) { return answer.reward_safety; }));
    add.mean("hazard_reward_safety", values_where(model, on_hazard, [](const MeasuredAnswer& answer) { return answer.reward_safety; }));
    add.share("unsafe_tail",
              values_where(model, on_hazard, [](const MeasuredAnswer& answer) { return answer.reward_safety < kUnsafeTail ? 1.0 : 0.0; }));
    if (!model.answers.empty() && model.answers.front().reward_general)
      add.mean("reward_general", values_where(model, anywhere, [](const MeasuredAnswer& answer) { return *answer.reward_general; }));
    if (other) {
      add.against("sft", model, *reference, gold);
      add.mean("kl_to_sft", values_where(model, anywhere, [](const MeasuredAnswer& answer) { return answer.kl_to_sft; }));
    }
    if (&model > reference + 1) {  // the first after SFT has SFT itself before it
      measured.before = (&model - 1)->model;
      add.against("before", model, *(&model - 1), gold);
    }
    if (!model.version_before.empty() && model.version_before != measured.before) {
      const auto earlier = std::find_if(models.begin(), models.end(), [&](const auto& one) { return one.model == model.version_before; });
      if (earlier == models.end())
        throw core::Error(core::Exit::internal, "[evaluation.compare_models] no answers of the model \"" + model.version_before + "\"");
      measured.version_before = model.version_before;
      add.against("version_before", model, *earlier, gold);
    }
    result.push_back(std::move(measured));
  }
  return result;
}

std::vector<FamilyMeasure> compare_by_family(const std::vector<ModelAnswers>& models, const statistics::Bootstrap& bootstrap) {
  std::set<std::string> families;
  for (const auto& model : models)
    for (const auto& answer : model.answers)
      if (!answer.hazard && !answer.family.empty() && answer.gold_helpfulness) families.insert(answer.family);
  std::vector<FamilyMeasure> result;
  for (const auto& family : families) {
    FamilyMeasure measure{.family = family, .prompts = 0, .helpfulness = {}};
    for (const auto& model : models) {
      const auto values = values_where(
          model, [&](const MeasuredAnswer& answer) { return !answer.hazard && answer.family == family; },
          [](const MeasuredAnswer& answer) { return *answer.gold_helpfulness; });
      measure.prompts = std::ssize(values);
      measure.helpfulness.push_back(statistics::bootstrap_mean(values, bootstrap));
    }
    result.push_back(std::move(measure));
  }
  return result;
}

}  // namespace keel::evaluation
