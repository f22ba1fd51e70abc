// Where the results come from: time, settings, lineage.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/metrics.h"
#include "data/messages.h"
#include "evaluation/assemble.h"
#include "evaluation/statistics/json.h"
#include "pipelines/recipe/departures.h"
#include "pipelines/recipe/versions.h"
#include "pipelines/report/sections.h"
#include "pipelines/run/manifest.h"

namespace keel::pipelines::report {

using evaluation::Section;

Section record_section(const recipe::Recipe& recipe, const Results& results, const Folders& folders) {
  using evaluation::ColumnKind;
  Section section{.heading = "Record", .text = {}, .blocks = {}};
  evaluation::Table settings{.title = "Settings that differ from keel's defaults",
                             .columns = {{"setting", ColumnKind::code}, {"here"}, {"default"}},
                             .rows = {},
                             .note = {}};
  for (const auto& difference : recipe::changed_settings(recipe))
    if (difference.keyed)  // where files lie is no part of the report's key, so it would show old places
      settings.rows.push_back({difference.name, difference.a, difference.b});
  evaluation::Table departures{.title = "Defaults that depart from the paper",
                               .columns = {{"setting", ColumnKind::code}, {"here"}, {"the paper, and the reason"}},
                               .rows = {},
                               .note = "All other defaults are the paper's, or are values that it leaves open."};
  for (const recipe::Departure& departure : recipe::departures_of(recipe))
    departures.rows.push_back({fmt::format("{}", fmt::join(departure.fields, ", ")), departure.value, departure.why});
  evaluation::GraphPlot lineage{.title = "Lineage",
                                .nodes = {},
                                .note =
                                    "Beside each step the digests of its key (settings, seed and contents of its inputs) and of what it "
                                    "left, and those of files from "
                                    "outside of the run. keel lineage prints them all."};
  std::map<std::string, size_t> places;
  for (const auto& [stage, folder] : folders.all) {
    const auto manifest = run::read_manifest(folder);
    if (!manifest) continue;
    evaluation::GraphPlot::Node node{
        .name = stage,
        .detail = fmt::format("{} {}", manifest->key.substr(0, 12), run::content_digest(manifest->outputs).substr(0, 12)),
        .inputs = {}};
    const nlohmann::json material = core::parse_json(manifest->material, "key material");
    for (const auto& [role, digest] : material.at("external").items())
      node.detail += fmt::format(", {} {}", role, digest.get<std::string>().substr(0, 12));
    for (const auto& [parent, record] : manifest->inputs)
      node.inputs.push_back(places.at(parent));
    places[stage] = lineage.nodes.size();
    lineage.nodes.push_back(std::move(node));
  }
  section.blocks = {evaluation::time_plot("Time by stage", results.seconds), settings, departures, lineage};
  return section;
}

}  // namespace keel::pipelines::report
