#include "serve/models.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/digest_cache.h"
#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "data/messages.h"
#include "data/prompts.h"
#include "data/rendered_text.h"
#include "data/text.h"
#include "inference/records.h"
#include "inference/reward_models.h"
#include "policy/base_model.h"
#include "policy/logprobs.h"
#include "policy/lora.h"
#include "runtime/device.h"

namespace keel::serve {
namespace {

namespace fs = std::filesystem;
using dialects::Asked;
using dialects::Item;
using dialects::Overlong;
using dialects::Refused;
using dialects::Trouble;

// The folder behind links: one that is exchanged while its files are read would give the weights of one model and the digest of another.
fs::path resolved(const fs::path& folder) {
  std::error_code missing;
  const fs::path path = fs::canonical(folder, missing);
  return missing ? folder : path;
}

nlohmann::json keel_json(const fs::path& folder) {
  return fs::exists(folder / "keel.json") ? core::read_json_file(folder / "keel.json") : nlohmann::json::object();
}

// A folder that was changed by half while it is read has other weights than it records.
void check_recorded_digest(const fs::path& folder) {
  const nlohmann::json object = keel_json(folder);
  const fs::path weights = folder / (policy::is_adapter(folder) ? "adapter_model.safetensors" : "model.safetensors");
  if (object.value("digest", "").empty() || !fs::exists(weights)) return;
  if (object.at("digest") != core::sha256_file(weights))
    throw core::DataError(weights, 0, "is not the file whose digest keel.json records: copy the folder again");
}

std::shared_ptr<ServedModel> described(const NamedFolder& named, const inference::RenderPolicy& limit, const policy::LlamaConfig& shape,
                                       const data::ChatFormat& format) {
  auto served = std::make_shared<ServedModel>();
  core::DigestCache digests;
  served->name = named.name;
  served->digest = inference::model_digest(named.folder, digests);
  served->limit = limit;
  served->shape = shape;
  served->format = format;
  served->most_tokens = limit.max_tokens > 0 ? std::min(limit.max_tokens, shape.max_position_embeddings) : shape.max_position_embeddings;
  const nlohmann::json object = keel_json(named.folder);
  served->metadata = {{"digest", served->digest},
                      {"lineage", object.contains("lineage") ? object.at("lineage") : nlohmann::json()},
                      {"chat_format", data::describe(format)},
                      {"tokenizer", inference::tokenizer_digest(named.folder)},
                      {"vocab_size", shape.vocab_size},
                      {"context", shape.max_position_embeddings},
                      {"max_tokens", served->most_tokens},
                      {"drop_oldest_turns", limit.drop_oldest_turns}};
  return served;
}

bool on_cpu() {
  return runtime::compute_device().is_cpu();
}

// `values` for a service. LibTorch's errors carry a backtrace in their text.
std::shared_ptr<const Forward> forward_of(Forward values, const ModelsConfig& config) {
  const bool one_by_one = config.deterministic && !on_cpu();  // rows of one batch are padded to one length there
  return std::make_shared<const Forward>([values = std::move(values), one_by_one](const std::vector<core::Ids>& rows) {
    try {
      if (!one_by_one) return values(rows);
      std::vector<Values> all;
      for (const auto& row : rows)
        all.push_back(values({row}).at(0));
      return all;
    } catch (const c10::Error& error) {
      throw std::runtime_error(error.what_without_backtrace());
    }
  });
}

std::shared_ptr<ServedModel> serve_reward(const NamedFolder& named, const ModelsConfig& config) {
  check_recorded_digest(named.folder);
  inference::ScoringModel model = inference::load_scoring_model(named.folder);
  model.limit.allow_tags = config.allow_tags;
  auto served = described(named, model.limit, model.shape, model.format);
  served->tokenizer = model.tokenizer;
  served->reward = std::move(model);
  const auto scores = [score = served->reward->score](const std::vector<core::Ids>& rows) {
    std::vector<Values> values;
    for (const double one : score(rows))
      values.push_back({static_cast<float>(one)});
    return values;
  };
  served->forward = forward_of(scores, config);
  return served;
}

std::shared_ptr<ServedModel> serve_policy(const NamedFolder& named, const ModelsConfig& config) {
  check_recorded_digest(named.folder);
  inference::LanguageModel model = inference::load_language_model(named.folder);
  model.limit.allow_tags = config.allow_tags;
  auto served = described(named, model.limit, model.llama.config, model.format);
  served->tokenizer = model.tokenizer;
  served->policy = std::move(model);
  served->forward = forward_of(policy::logprobs_by(served->policy->llama), config);
  return served;
}

// Known rows and their scores: a model that was exchanged or broken on its way does not give them.
void check_probes(const ServedModel& model, const fs::path& folder) {
  const fs::path file = folder / "probes.jsonl";
  if (!fs::exists(file)) return;
  const data::PromptSet set = data::read_prompts(file);
  const auto records = inference::dialogues_for(*model.reward, set, {.limit = model.limit});
  core::JsonlReader reader(file);
  size_t i = 0;
  for (nlohmann::json row; reader.next(row); ++i) {
    const nlohmann::json *expected = data::member(row, "score"), *tolerance = data::member(row, "tolerance");
    if (expected == nullptr || !expected->is_number()) throw reader.error("a probe needs its \"score\"");
    if (!records.at(i).too_long.empty()) throw reader.error(records[i].too_long);
    const double found = (*model.forward)({records[i].ids}).at(0).at(0),
                 most = tolerance != nullptr && tolerance->is_number() ? tolerance->get<double>() : 1e-3;
    if (tolerance != nullptr && !tolerance->is_number()) throw reader.error("\"tolerance\" must be a number");
    if (!(std::abs(found - expected->get<double>()) <= most))
      throw reader.error(
          fmt::format("this probe scores {}, not {} +- {}: the model is not the one that it was", found, expected->get<double>(), most));
  }
}

// Whether a text begins as a dialogue of the model's chat format does, i.e. whether a trainer has rendered it. Tags further on in a text
// that a person typed prove nothing.
bool begins_rendered(const ServedModel& model, std::string_view text) {
  const auto bos = model.tokenizer->bos();
  for (const auto& special : model.tokenizer->special_texts())
    if (bos && model.tokenizer->special(special) == bos && text.starts_with(special)) text.remove_prefix(special.size());
  while (text.starts_with(' '))
    text.remove_prefix(1);
  return data::begins_rendered(model.format, text);
}

Rendered render_text(const ServedModel& model, const dialects::PlainText& plain) {
  if (!begins_rendered(model, plain.text)) return {.ids = data::render_text(*model.tokenizer, plain.text, plain.bos).ids};
  Rendered rendered{.ids = data::rendered_text_ids(*model.tokenizer, plain.text)};
  const auto start = model.tokenizer->start();
  if (plain.bos && start && (rendered.ids.empty() || rendered.ids.front() != *start)) rendered.ids.insert(rendered.ids.begin(), *start);
  return rendered;
}

// What a decoder gives behind the words of an answer: the special token that ended it.
std::string without_end(const ServedModel& model, const std::string& answer) {
  const std::string_view text = data::strip(answer);
  for (const auto& special : model.tokenizer->special_texts())
    if (!special.empty() && text.ends_with(special)) return std::string(text.substr(0, text.size() - special.size()));
  return answer;
}

// The first tokens of an answer.
std::string shortened(const ServedModel& model, const std::string& answer, int64_t most) {
  if (most == 0) return answer;
  core::Ids ids = model.tokenizer->encode(answer);
  if (std::ssize(ids) <= most) return answer;
  ids.resize(static_cast<size_t>(most));
  return model.tokenizer->decode(ids);
}

Rendered render_dialogue(const ServedModel& model, core::Dialogue dialogue, bool decoded, bool shortens = true) {
  if (decoded) dialogue.messages.back().content = without_end(model, dialogue.messages.back().content);
  if (!model.limit.allow_tags)  // an answer may hold tags, for a model wrote it
    for (const auto& message : dialogue.messages)
      if (message.role != "assistant" && data::holds_tag(model.format, message.content))
        throw Refused(Trouble::invalid, "a message holds a tag of the chat format");
  if (std::ssize(dialogue.messages) > model.most_tokens + 1 && !model.limit.drop_oldest_turns)
    throw Refused(Trouble::overlong, fmt::format("a dialogue has {} messages, more than tokens fit", dialogue.messages.size()));
  data::PromptSet set;
  set.records.emplace_back().messages = std::move(dialogue);
  auto whole = data::answered_sequence(set.records[0], model.format, *model.tokenizer, data::TagPolicy::allow);
  const auto answer = std::ranges::find(whole.loss_mask.rbegin(), whole.loss_mask.rend(), false) - whole.loss_mask.rbegin();
  Rendered rendered{.ids = std::move(whole.ids), .answer_tokens = answer};
  if (std::ssize(rendered.ids) <= model.most_tokens || !model.limit.drop_oldest_turns || !shortens) return rendered;
  inference::RenderPolicy limit = model.limit;
  limit.allow_tags = true;
  const auto record = inference::dialogues_for(*model.reward, set, {.limit = limit}).front();
  if (record.too_long.empty()) rendered.ids = record.ids, rendered.truncated = true;
  return rendered;
}

core::Dialogue one_turn(const std::string& prompt, const std::string& answer) {
  core::Dialogue dialogue;
  dialogue.messages.push_back({"user", prompt});
  dialogue.messages.push_back({"assistant", answer});
  return dialogue;
}

Rendered render_whole(const ServedModel& model, const Item& item, const Asked& asked) {
  if (const auto* ids = std::get_if<core::Ids>(&item.content)) return {.ids = *ids};
  if (const auto* plain = std::get_if<dialects::PlainText>(&item.content)) return render_text(model, *plain);
  if (const auto* rendered = std::get_if<dialects::RenderedText>(&item.content))
    return {.ids = data::rendered_text_ids(*model.tokenizer, rendered->text)};
  if (const auto* pair = std::get_if<dialects::PromptAndAnswer>(&item.content))
    return render_dialogue(model, one_turn(pair->prompt, shortened(model, pair->answer, asked.max_answer_tokens)), item.decoded);
  if (const auto* pair = std::get_if<dialects::RenderedPrompt>(&item.content)) {
    if (begins_rendered(model, pair->prompt)) return {.ids = data::rendered_text_ids(*model.tokenizer, pair->prompt + pair->answer)};
    return render_dialogue(model, one_turn(pair->prompt, pair->answer), item.decoded);
  }
  return render_dialogue(model, std::get<core::Dialogue>(item.content), item.decoded);
}

}  // namespace

const std::string& ModelSet::default_name() const {
  static const std::string both = kCombined;
  return combined ? both : rewards.front()->name;
}

std::vector<std::string> ModelSet::reward_names() const {
  std::vector<std::string> names;
  if (combined) names.emplace_back(kCombined);
  for (const auto& model : rewards)
    names.push_back(model->name);
  return names;
}

std::string ModelSet::served_name(const std::string& in_path) const {
  for (const auto& name : {in_path, "/" + in_path})
    if (!in_path.empty() && (!behind(name).empty() || policy(name) != nullptr)) return name;
  return {};
}

std::vector<std::shared_ptr<const ServedModel>> ModelSet::behind(const std::string& name) const {
  const auto named = [&](const std::string& wanted) {
    std::vector<std::shared_ptr<const ServedModel>> found;
    for (const auto& model : rewards)
      if (model->name == wanted) found.push_back(model);
    return found;
  };
  if (name.empty()) return behind(default_name());
  if (name != kCombined || !combined) return named(name);
  return {named("helpfulness").at(0), named("safety").at(0)};
}

std::shared_ptr<const ServedModel> ModelSet::policy(const std::string& name) const {
  for (const auto& model : policies)
    if (name.empty() || model->name == name) return model;
  return nullptr;
}

std::string ModelSet::digest_of(const std::string& name) const {
  return serve::digest_of(behind(name));
}

std::string digest_of(const std::vector<std::shared_ptr<const ServedModel>>& models) {
  std::string digests;
  for (const auto& model : models)
    digests += (digests.empty() ? "" : "+") + model->digest;
  return digests;
}

std::shared_ptr<const ModelSet> load_models(const ModelsConfig& given) {
  ModelsConfig config = given;
  config.base = given.base.empty() ? given.base : resolved(given.base);
  auto set = std::make_shared<ModelSet>();
  fs::path safety;
  const auto is_adapter = [](const NamedFolder& named) { return policy::is_adapter(named.folder); };
  if (!config.base.empty() && std::ranges::none_of(config.rewards, is_adapter) && std::ranges::none_of(config.policies, is_adapter))
    throw core::UsageError("--base: no model is a PEFT adapter");
  policy::use_base(config.base);
  for (NamedFolder named : config.rewards) {
    if (named.name == "safety") safety = named.folder;
    named.folder = resolved(named.folder);
    const auto model = serve_reward(named, config);
    check_probes(*model, named.folder);
    set->rewards.push_back(model);
  }
  for (NamedFolder named : config.policies) {
    named.folder = resolved(named.folder);
    set->policies.push_back(serve_policy(named, config));
  }
  set->combined = config.combined;
  set->deterministic = on_cpu() || config.deterministic;
  if (config.gate)
    set->gate.gate_threshold = *config.gate;
  else if (config.combined)
    set->gate = inference::recorded_gate(safety);
  return set;
}

namespace {

// What `work` gives, its errors as Refused.
template <class Work>
Rendered rendered_by(const ServedModel& model, Work work) {
  Rendered rendered;
  try {
    rendered = work();
  } catch (const std::invalid_argument&) {  // its words may repeat the client's
    throw Refused(Trouble::invalid, "a text is not valid UTF-8, or a message holds a tag of the chat format");
  } catch (const core::UsageError&) {
    throw Refused(Trouble::invalid, "this model has no chat format, or no end of a turn: send \"input\", \"text\" or \"ids\"");
  } catch (const core::DataError&) {
    throw Refused(Trouble::invalid, "a message holds a tag of the chat format, is empty, or an id lies outside the model's vocabulary");
  }
  if (rendered.ids.empty()) throw Refused(Trouble::invalid, "a text has no token");
  for (const int64_t id : rendered.ids)
    if (id < 0 || id >= model.shape.vocab_size)
      throw Refused(Trouble::invalid, fmt::format("an id lies outside the model's vocabulary 0..{}", model.shape.vocab_size - 1));
  return rendered;
}

}  // namespace

core::Ids whole_ids(const ServedModel& model, const Item& item) {
  const auto* dialogue = std::get_if<core::Dialogue>(&item.content);
  return rendered_by(
             model,
             [&] { return dialogue != nullptr ? render_dialogue(model, *dialogue, item.decoded, false) : render_whole(model, item, {}); })
      .ids;
}

Rendered render(const ServedModel& model, const Item& item, const Asked& asked) {
  if (asked.max_tokens && *asked.max_tokens > model.most_tokens && !asked.limit_name.empty())
    throw Refused(Trouble::invalid, fmt::format("\"{}\" is more than the model's limit of {}", asked.limit_name, model.most_tokens));
  Rendered rendered = rendered_by(model, [&] { return render_whole(model, item, asked); });
  const int64_t most = std::min(asked.max_tokens.value_or(model.most_tokens), model.most_tokens), tokens = std::ssize(rendered.ids);
  if (tokens <= most && !(rendered.truncated && asked.overlong == Overlong::refuse)) return rendered;
  if (asked.overlong == Overlong::refuse)
    throw Refused(Trouble::overlong, tokens > most ? fmt::format("a text has {} tokens, more than the {} that fit", tokens, most)
                                                   : fmt::format("a dialogue fits the {} tokens only without its oldest turns", most));
  auto& ids = rendered.ids;
  if (asked.overlong == Overlong::keep_start) {
    rendered.answer_tokens = std::max<int64_t>(0, rendered.answer_tokens - (tokens - most));
    ids.resize(static_cast<size_t>(most));
  } else {  // the score is read at the end
    rendered.answer_tokens = std::min(rendered.answer_tokens, most);
    ids.erase(ids.begin(), ids.end() - most);
  }
  rendered.truncated = rendered.cut = true;
  return rendered;
}

}  // namespace keel::serve
