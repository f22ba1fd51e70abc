// One self-contained HTML page: no script, no network, dark and light by the reader's setting, equal bytes for equal input.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "evaluation/plots.h"

namespace keel::evaluation {

struct Section {
  std::string heading;
  std::string text;  // paragraphs, parted by an empty line; may be empty
  std::vector<Block> blocks;
  bool small = false;  // small multiples: three figures in a row instead of two
};

struct Report {
  std::string title, subtitle;
  std::vector<std::pair<std::string, std::string>> facts;  // shown under the title: {"recipe", "sandbox"}, {"seed", "1"}
  std::vector<std::string> models;  // in the order of the recipe; series of these names keep one colour on the whole page
  Table summary;
  std::vector<Section> sections;
};

// The page, at most 2 MB: curves are thinned to 2,000 points (keeping each stretch's extremes), data tables to 200 rows, long answers cut,
// and all of it further while the page is still too large; the page notes each cut in its place. Text is escaped and invalid UTF-8
// replaced. Throws core::Error for series, bands or table rows of unequal length.
std::string render_html(const Report& report);

}  // namespace keel::evaluation
