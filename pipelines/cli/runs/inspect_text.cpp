// Descriptions for people. Everything that comes out of a file passes core::harmless().
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "core/terminal.h"
#include "pipelines/cli/runs/inspect.h"

namespace keel::pipelines::cli::runs {
namespace {

using nlohmann::json;

// "12,345,678"
std::string grouped(int64_t number) {
  std::string text = std::to_string(number);
  for (size_t place = text.size(); place > 3 + (number < 0 ? 1u : 0u); place -= 3)
    text.insert(place - 3, ",");
  return text;
}

std::string size_text(int64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double size = static_cast<double>(bytes) / 1000;
  for (const char* unit : {"kB", "MB"}) {
    if (size < 1000) return fmt::format("{:.1f} {}", size, unit);
    size /= 1000;
  }
  return fmt::format("{:.1f} GB", size);
}

std::string id_text(const json& id) {
  return fmt::format("{} ({})", id.at("piece").get<std::string>(), id.at("id").get<int64_t>());
}

// "a 12, b 3", the most frequent first, at most 20 of them.
std::string counts_text(const json& counts) {
  std::vector<std::pair<int64_t, std::string>> sorted;
  for (const auto& [name, count] : counts.items())
    sorted.emplace_back(-count.get<int64_t>(), name);
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::string> parts;
  for (const auto& [count, name] : sorted)
    if (parts.size() < 20) parts.push_back(fmt::format("{} {}", name.empty() ? "\"\"" : name, grouped(-count)));
  if (sorted.size() > parts.size()) parts.push_back(fmt::format("and {} others", sorted.size() - parts.size()));
  return fmt::format("{}", fmt::join(parts, ", "));
}

// A heading, and lines of a name and a text below it.
class Sheet {
 public:
  Sheet(const std::filesystem::path& path, const json& facts)
      : text_(core::harmless_line(fmt::format("{}: {}", path.string(), facts.at("kind").get<std::string>()), 1000) + "\n") {}
  void line(const std::string& name, const std::string& value) {
    text_ += fmt::format("  {:<12} {}\n", name, core::harmless_line(value, 4000));
  }
  void raw(const std::string& text) { text_ += text; }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

void add_shape(Sheet& sheet, const json& facts) {
  if (const auto found = facts.find("shape"); found != facts.end()) {
    const auto number = [&](const char* name) { return found->at(name).get<int64_t>(); };
    sheet.line("shape",
               fmt::format("{} layers, width {}, feed-forward {}, {} heads of {} ({} for keys and values), vocabulary {}, context {}",
                           number("num_hidden_layers"), number("hidden_size"), number("intermediate_size"), number("num_attention_heads"),
                           number("head_dim"), number("num_key_value_heads"), number("vocab_size"), number("max_position_embeddings")));
  }
  if (!facts.contains("parameters")) return;
  const bool tied = facts.value("/shape/tie_word_embeddings"_json_pointer, false);
  sheet.line("parameters", fmt::format("{} ({}){}, {} on disk", grouped(facts["parameters"].get<int64_t>()), counts_text(facts["dtypes"]),
                                       tied ? ", the head is the embedding" : "", size_text(facts["bytes"].get<int64_t>())));
}

void add_tokenizer(Sheet& sheet, const json& facts) {
  const auto found = facts.find("tokenizer");
  if (found == facts.end()) return;
  std::string text = fmt::format("{}, {} ids", found->at("kind").get<std::string>(), found->at("ids").get<int64_t>());
  for (const char* name : {"bos", "eos", "pad"})
    if (found->contains(name)) text += fmt::format(", {} {}", name, id_text(found->at(name)));
  sheet.line("tokenizer", text + (found->at("adds_bos").get<bool>() ? "; raw text begins with BOS" : "; raw text gets no BOS"));
  const json& format = facts.at("chat_format");
  const auto name = format.at("name").get<std::string>(), from = format.at("from").get<std::string>();
  sheet.line("chat format", from.starts_with("there is no") ? fmt::format("{}: {}", name, from) : fmt::format("{}, from {}", name, from));
  if (format.contains("problem")) sheet.line("problem", format["problem"].get<std::string>());
  std::vector<std::string> stops;
  for (const json& stop : format.at("stops"))
    stops.push_back(id_text(stop));
  sheet.line("answers end", stops.empty() ? "never: the tokenizer has no EOS" : fmt::format("at {}", fmt::join(stops, ", ")));
}

std::string indented(const std::string& text, const std::string& indent) {
  std::string result = indent;
  for (const char c : text)
    result += c == '\n' ? "\n" + indent : std::string(1, c);
  return result + "\n";
}

// Runs of a rendered row; brackets or colours around what is trained.
std::string runs_text(const json& runs, const Marks& marks) {
  std::string text;
  bool open = false;
  for (const json& run : runs) {
    const bool trained = run.at("trained").get<bool>(), special = run.at("special").get<bool>();
    const std::string piece = core::harmless(run.at("text").get<std::string>());
    if (marks.colour) {
      const std::string code = trained ? (special ? "\x1b[2;32m" : "\x1b[32m") : (special ? "\x1b[2m" : "");
      text += code.empty() ? piece : code + piece + "\x1b[0m";
      continue;
    }
    if (trained != open) text += trained ? "[[" : "]]";
    open = trained;
    text += piece;
  }
  return open ? text + "]]" : text;
}

std::string shown_text(const json& row, const Marks& marks) {
  std::string text = fmt::format("line {}: {}{}\n", row.at("line").get<int64_t>(), row.at("form").get<std::string>(),
                                 row.contains("dropped") ? " (left out: " + row["dropped"].get<std::string>() + ")" : "");
  const std::string indent = "    ";
  if (row.contains("rendered")) {
    const bool pair = row["rendered"].size() == 2;
    for (size_t i = 0; i < row["rendered"].size(); ++i) {
      const json& sequence = row["rendered"][i];
      if (pair) text += i == 0 ? "  chosen:\n" : "  rejected:\n";
      text += indented(runs_text(sequence.at("runs"), marks), indent);
      if (sequence.contains("ids")) text += indented("ids " + core::dump_json(sequence["ids"]), indent);
    }
    return text;
  }
  if (row.contains("messages"))
    for (const json& message : row["messages"])
      text += indented(core::harmless(message.at("role").get<std::string>() + ": " + message.at("content").get<std::string>()), indent);
  if (row.contains("rejected")) text += indented("rejected: " + core::harmless(row["rejected"].get<std::string>()), indent);
  if (row.contains("text")) text += indented(core::harmless(row["text"].get<std::string>()), indent);
  if (row.contains("ids")) text += indented("ids " + core::dump_json(row["ids"]), indent);
  if (row.contains("row")) text += indented(core::harmless(core::dump_json(row["row"])), indent);
  return text;
}

std::string quantiles_text(const json& lengths) {
  return fmt::format("half of the rows have at most {}, 90 % {}, 99 % {}, the longest {}", grouped(lengths.at("p50").get<int64_t>()),
                     grouped(lengths.at("p90").get<int64_t>()), grouped(lengths.at("p99").get<int64_t>()),
                     grouped(lengths.at("max").get<int64_t>()));
}

void add_problems(Sheet& sheet, const std::string& name, const json& facts) {
  if (!facts.contains(name)) return;
  std::string text = grouped(facts[name].at("rows").get<int64_t>()) + " rows";
  for (const json& first : facts[name].at("first"))
    text += "; " + first.get<std::string>();
  sheet.line(name, text);
}

}  // namespace

std::string text_of_model(const std::filesystem::path& path, const json& facts) {
  Sheet sheet(path, facts);
  add_shape(sheet, facts);
  if (facts.contains("rank")) {
    sheet.line("adapter", fmt::format("rank {}, alpha {}, on {}", facts["rank"].get<int64_t>(), facts["alpha"].get<double>(),
                                      fmt::join(facts["target_modules"].get<std::vector<std::string>>(), ", ")));
    sheet.line("base", fmt::format("{} ({})", facts["base"].get<std::string>(), facts["task"].get<std::string>()));
  }
  add_tokenizer(sheet, facts);
  if (facts.contains("limit")) sheet.line("limit", core::dump_json(facts["limit"]));
  if (const json accuracy = facts.value("accuracy", json()); accuracy.is_object() && accuracy.contains("mean"))
    sheet.line("accuracy", fmt::format("{:.3f} on held-out pairs", accuracy["mean"].get<double>()));
  if (facts.contains("lineage")) sheet.line("lineage", core::dump_json(facts["lineage"]));
  if (facts.contains("digest")) sheet.line("digest", facts["digest"].get<std::string>());
  const json recorded = facts.value("recorded_digest", json()), weights = facts.value("weights_digest", json());
  if (recorded.is_string() && !recorded.get<std::string>().empty() && weights.is_string() && recorded != weights)
    sheet.line("note", "model.safetensors is not the file that keel.json was written for");
  for (const json& problem : facts.value("problems", json::array()))
    sheet.line("problem", problem.get<std::string>());
  return sheet.text();
}

std::string text_of_data(const std::filesystem::path& path, const json& facts, const Marks& marks) {
  Sheet sheet(path, facts);
  sheet.line("rows", fmt::format("{}, {} on disk: {}", grouped(facts["rows"].get<int64_t>()), size_text(facts["bytes"].get<int64_t>()),
                                 counts_text(facts["forms"])));
  if (facts.contains("dropped")) sheet.line("left out", counts_text(facts["dropped"]));
  if (facts["characters"].is_object()) sheet.line("characters", quantiles_text(facts["characters"]));
  if (facts.contains("tokens")) {
    const json& tokens = facts["tokens"];
    sheet.line("tokens", quantiles_text(tokens));
    if (tokens.contains("context"))
      sheet.line("", fmt::format("{} rows exceed the context of {}", grouped(tokens["over_context"].get<int64_t>()),
                                 grouped(tokens["context"].get<int64_t>())));
  }
  const json labels = facts.value("labels", json::object());
  for (const auto& [name, counts] : labels.items())
    sheet.line(name, counts_text(counts));
  if (facts.contains("hazard")) sheet.line("hazard", grouped(facts["hazard"].get<int64_t>()) + " rows are about safety");
  add_problems(sheet, "unreadable", facts);
  add_problems(sheet, "refused", facts);
  bool rendered = false;
  for (const json& row : facts["shown"]) {
    rendered = rendered || row.contains("rendered");
    sheet.raw("\n" + shown_text(row, marks));
  }
  if (rendered) sheet.raw(marks.colour ? "\n(what is trained on is green)\n" : "\n(what is trained on stands between [[ and ]])\n");
  return sheet.text();
}

std::string text_of_run(const std::filesystem::path& path, const json& facts) {
  Sheet sheet(path, facts);
  sheet.line("recipe", fmt::format("{}, by keel {}", facts["recipe"].get<std::string>(), facts["keel"].get<std::string>()));
  sheet.line("versions", fmt::format("{}", fmt::join(facts["versions"].get<std::vector<std::string>>(), ", ")));
  int64_t done = 0;
  std::string next;
  for (const json& stage : facts["stages"]) {
    if (stage["state"] == "done")
      ++done;
    else if (next.empty())
      next = fmt::format("; next is {} ({}: {})", stage["name"].get<std::string>(), stage["state"].get<std::string>(),
                         stage["reason"].get<std::string>());
  }
  sheet.line("stages", fmt::format("{} of {} are done{}", done, facts["stages"].size(), next));
  if (facts["running"].get<bool>())
    sheet.line("", "a process is working on it" + (facts.contains("progress") ? ": " + facts["progress"].get<std::string>() : ""));
  for (const char* name : {"models", "reward_models"})
    for (const json& model : facts[name])
      sheet.line(name == std::string("models") ? "model" : "reward model",
                 fmt::format("{} ({}): {}", model["name"].get<std::string>(), model["stage"].get<std::string>(),
                             model["path"].get<std::string>()));
  return sheet.text();
}

}  // namespace keel::pipelines::cli::runs
