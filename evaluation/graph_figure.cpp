// The figure of steps and their inputs.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "evaluation/figures.h"

namespace keel::evaluation {
namespace {

constexpr double kStepHeight = 20;
constexpr double kArcs = 190;  // room for arcs, left of the nodes

// All nodes that each node was made from.
std::vector<std::set<size_t>> ancestors(const std::vector<GraphPlot::Node>& nodes) {
  std::vector<std::set<size_t>> all(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i)
    for (const size_t input : nodes[i].inputs) {
      if (input >= i)
        throw core::Error(core::Exit::internal,
                          "[evaluation.graph] node \"" + nodes[i].name + "\" reads one that does not stand before it");
      all[i].insert(input);
      all[i].insert(all[input].begin(), all[input].end());
    }
  return all;
}

// Inputs that no other input was made from.
std::vector<size_t> direct_inputs(const GraphPlot::Node& node, const std::vector<std::set<size_t>>& made_from) {
  std::vector<size_t> direct;
  for (const size_t input : node.inputs) {
    const bool implied =
        std::any_of(node.inputs.begin(), node.inputs.end(), [&](size_t other) { return made_from[other].contains(input); });
    if (!implied) direct.push_back(input);
  }
  return direct;
}

std::string arc(size_t from, size_t to) {
  const double begin = kStepHeight * (static_cast<double>(from) + 0.5), end = kStepHeight * (static_cast<double>(to) + 0.5);
  const double reach = std::min(10 + 7 * static_cast<double>(to - from), kArcs - 12);
  return fmt::format("<path class=\"axis\" d=\"M{} {}C{} {} {} {} {} {}\"/>\n", coordinate(kArcs), coordinate(begin),
                     coordinate(kArcs - reach), coordinate(begin), coordinate(kArcs - reach), coordinate(end), coordinate(kArcs),
                     coordinate(end));
}

}  // namespace

std::string render_figure(const GraphPlot& plot, const Look& look) {
  const auto made_from = ancestors(plot.nodes);
  double name_width = 0;
  for (const auto& node : plot.nodes)
    name_width = std::max(name_width, text_width(node.name));
  Figure figure{.title = plot.title,
                .description = fmt::format("{} steps, each below those that it reads.", plot.nodes.size()),
                .legend = {},
                .drawing = {},
                .size = {640, kStepHeight * static_cast<double>(std::max<size_t>(plot.nodes.size(), 1))},
                .caption = fmt::format("{} steps; an arc leads from a step to one that reads it.", plot.nodes.size()),
                .not_finite = 0,
                .note = plot.note,
                .data = {.title = "", .columns = {{"step"}, {""}, {"reads"}}, .rows = {}, .note = {}}};
  for (size_t i = 0; i < plot.nodes.size(); ++i) {
    const auto& node = plot.nodes[i];
    for (const size_t input : direct_inputs(node, made_from))
      figure.drawing += arc(input, i);
    const double y = kStepHeight * (static_cast<double>(i) + 0.5);
    figure.drawing += fmt::format("<g class=\"{}\"><path class=\"dot\" d=\"{}\"/></g>\n", colour_class(0), marker_path(0, kArcs, y, 4));
    figure.drawing += text_at(kArcs + 10, y + 4, "start", "", node.name);
    figure.drawing += text_at(kArcs + 22 + name_width, y + 4, "start", "tick", shorten(node.detail, 620 - kArcs - name_width - 22));
    std::string reads;
    for (const size_t input : node.inputs)
      reads += (reads.empty() ? "" : ", ") + plot.nodes[input].name;
    figure.data.rows.push_back({node.name, node.detail, reads});
  }
  return figure_html(figure, look);
}

}  // namespace keel::evaluation
