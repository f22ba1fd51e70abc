#include "pipelines/recipe/data.h"

#include <fmt/format.h>
#include <glob.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <utility>

#include "core/error.h"
#include "core/parquet.h"

namespace keel::pipelines::recipe {
namespace {

namespace fs = std::filesystem;

bool ends_in(const std::string& name, std::initializer_list<const char*> endings) {
  return std::any_of(endings.begin(), endings.end(), [&](const char* ending) { return name.ends_with(ending); });
}

// The data files of a folder and of the folders in it. A table in another format is refused: leaving it out would pass unnoticed.
std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const std::string name = entry.path().filename().string();
    const bool parquet = name.ends_with(".parquet");
    if ((parquet && core::reads_parquet()) || ends_in(name, {".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".json.gz", ".json.zst"}))
      files.push_back(entry.path());
    else if (parquet || ends_in(name, {".arrow", ".csv", ".tsv"}))
      throw core::UsageError(fmt::format(
          "{}: a source's folder is read as JSON (.jsonl, .json, also .gz and .zst){} and this is another table; {}convert it, or name the "
          "files to read by a pattern, {}/*.jsonl",
          entry.path().string(), core::reads_parquet() ? " or Parquet" : "", parquet ? "build keel with Parquet (make parquet), " : "",
          folder.string()));
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<fs::path> expanded(const std::string& path) {
  std::error_code absent;
  if (fs::is_directory(path, absent)) return files_in(path);
  if (fs::exists(path, absent)) return {path};  // also a file whose name holds a *
  glob_t found{};
  std::vector<fs::path> files;
  if (glob(path.c_str(), 0, nullptr, &found) == 0) files.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  return files;
}

// What sets a source: "data.sources[2]", "data.helpful".
std::string setting_of(const DataConfig& config, size_t index) {
  const size_t helpful = config.helpful.empty() ? 0 : 1, harmless = config.harmless.empty() ? 0 : 1;
  if (index < helpful) return "data.helpful";
  if (index < helpful + harmless) return "data.harmless";
  return fmt::format("data.sources[{}]", index - helpful - harmless);
}

bool is_day(const std::string& date) {
  int year = 0, month = 0, day = 0, length = 0;
  if (std::sscanf(date.c_str(), "%4d-%2d-%2d%n", &year, &month, &day, &length) != 3 || length != 10 || date.size() != 10) return false;
  return std::chrono::year_month_day(std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                     std::chrono::day(static_cast<unsigned>(day)))
      .ok();
}

// Batches that do not follow one another: a day of an earlier batch after one of a later batch. Dates compare as text.
void check_dates(const std::vector<SourceConfig>& sources, const std::function<void(size_t, const std::string&)>& problem) {
  for (size_t i = 0; i < sources.size(); ++i) {
    if (!sources[i].date.empty() && !is_day(sources[i].date))
      problem(i, fmt::format("date must be a day, YYYY-MM-DD, got \"{}\"", sources[i].date));
    for (size_t j = 0; j < sources.size(); ++j)
      if (!sources[i].date.empty() && !sources[j].date.empty() && sources[j].batch < sources[i].batch && sources[j].date > sources[i].date)
        problem(i, fmt::format("batch {} of {} is older than batch {} of {}: a later batch has later days", sources[i].batch,
                               sources[i].date, sources[j].batch, sources[j].date));
  }
}

}  // namespace

std::vector<SourceConfig> sources_of(const DataConfig& config) {
  std::vector<SourceConfig> sources;
  if (!config.helpful.empty()) sources.push_back({.path = config.helpful, .kind = SourceKind::helpfulness});
  if (!config.harmless.empty()) sources.push_back({.path = config.harmless, .kind = SourceKind::safety});
  sources.insert(sources.end(), config.sources.begin(), config.sources.end());
  return sources;
}

bool has_source(const DataConfig& config, SourceKind kind) {
  const auto sources = sources_of(config);
  return std::any_of(sources.begin(), sources.end(), [&](const SourceConfig& source) { return source.kind == kind; });
}

bool has_source(const DataConfig& config, SourceKind kind, int64_t batch) {
  const auto sources = sources_of(config);
  return std::any_of(sources.begin(), sources.end(),
                     [&](const SourceConfig& source) { return source.kind == kind && source.batch == batch; });
}

std::vector<std::vector<SourceFile>> files_of(const DataConfig& config, const std::map<std::string, std::string>& recorded) {
  std::vector<std::vector<SourceFile>> files;
  std::map<std::pair<SourceKind, int64_t>, int> numbers;
  const auto sources = sources_of(config);
  for (size_t i = 0; i < sources.size(); ++i) {
    const std::string setting = setting_of(config, i);
    const bool short_form = !setting.ends_with(']');
    const SourceConfig& source = sources[i];
    const std::string prefix =
        fmt::format("data.{}{}.{}.", core::name_of(source.kind), source.batch, short_form ? 0 : numbers[{source.kind, source.batch}]++);
    std::vector<SourceFile>& of_source = files.emplace_back();
    for (const auto& path : expanded(source.path))
      of_source.push_back({.name = short_form ? setting : fmt::format("{}{}", prefix, of_source.size()), .path = path});
    if (!of_source.empty()) continue;
    for (const auto& [name, digest] : recorded)
      if (short_form ? name == setting : name.starts_with(prefix)) of_source.push_back({.name = name, .path = {}});
  }
  return files;
}

void check_source_files(const DataConfig& config) {
  const auto sources = sources_of(config);
  const auto files = files_of(config, {});
  std::map<std::pair<SourceKind, fs::path>, size_t> holders;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (files[i].empty()) throw core::UsageError(fmt::format("{}: {} matches no file", setting_of(config, i), sources[i].path));
    for (const SourceFile& file : files[i]) {
      const std::string name = file.path.filename().string();
      if (ends_in(name, {".csv", ".csv.gz", ".csv.zst", ".tsv", ".tsv.gz", ".tsv.zst"}))
        throw core::UsageError(
            fmt::format("{}: {} is a table of text, and sources are JSON lines or Parquet; convert it, e.g. python3 -c \"import pandas; "
                        "pandas.read_csv('{}'{}).to_json('{}.jsonl', orient='records', lines=True)\"",
                        setting_of(config, i), file.path.string(), file.path.string(),
                        name.find(".tsv") == std::string::npos ? "" : ", sep='\\t'", file.path.stem().string()));
      const auto [holder, fresh] = holders.try_emplace({sources[i].kind, fs::canonical(file.path)}, i);
      if (!fresh)
        throw core::UsageError(fmt::format("{} and {} both hold {}: its rows would count twice; leave it out of one, or give it a weight",
                                           setting_of(config, holder->second), setting_of(config, i), file.path.string()));
    }
  }
}

std::vector<std::string> source_problems(const DataConfig& config, int64_t versions) {
  const auto sources = sources_of(config);
  std::vector<std::string> problems;
  const auto problem = [&](size_t i, const std::string& text) { problems.push_back(fmt::format("{}: {}", setting_of(config, i), text)); };
  for (size_t i = 0; i < sources.size(); ++i) {
    const SourceConfig& source = sources[i];
    const std::string kind = core::name_of(source.kind);
    const bool in_batches = holds_pairs(source.kind) || source.kind == SourceKind::prompts;
    if (source.path.empty()) problem(i, "\"path\" is empty");
    if (source.batch > versions)
      problem(i, fmt::format("batch {} is for V{}, but \"versions\" names {}; add the version, or leave the source out", source.batch,
                             source.batch, versions));
    if (!in_batches && source.batch != 1) problem(i, fmt::format("nothing reads \"batch\" of {}; leave it out", kind));
    if (source.hazard && (holds_pairs(source.kind) || source.kind == SourceKind::pretraining))
      problem(i, fmt::format("nothing reads \"hazard\" of {}: {}", kind,
                             holds_pairs(source.kind) ? "pairs about safety have the kind safety" : "leave it out"));
  }
  check_dates(sources, problem);
  return problems;
}

}  // namespace keel::pipelines::recipe
