// The parts of a figure: escaped text, axes with round ticks, paths with gaps, thinning. Sizes are in SVG user units (about 1 px).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "evaluation/plots.h"

namespace keel::evaluation {

// Text for HTML and SVG, in elements as in quoted attributes. Invalid UTF-8 and ASCII control characters become U+FFFD.
std::string escape(std::string_view text);

// The longest prefix of `text` with at most `limit` bytes that cuts no code point.
std::string_view cut_text(std::string_view text, size_t limit);

// Values that a figure can place: finite and below 1e300 (so that ranges stay finite).
bool drawable(double value);

std::string coordinate(double value);  // one decimal at most
std::string value_text(double value);  // six significant digits, for data tables and captions

// The span of an axis.
struct Range {
  double low = 1, high = 0;  // low > high: empty
  bool empty() const { return low > high; }
  void add(double value);            // ignores values that are not drawable
  Range padded(double share) const;  // a share of the width on both sides; an empty or single-valued range becomes a proper one
};

struct Ticks {
  std::vector<double> values;
  std::vector<std::string> labels;
};
double nice_step(double span, int count);  // 1, 2 or 5 times a power of ten, so that about `count` steps fill `span`
Ticks ticks(const Range& range, int count, bool whole_numbers = false);

// The plotting area inside a drawing of `width` x `height`, with the scales of both axes.
struct Frame {
  double width = 0, height = 0;
  double left = 0, right = 0, top = 0, bottom = 0;  // edges of the plotting area
  Range x, y;
  double at_x(double value) const { return left + (value - x.low) / (x.high - x.low) * (right - left); }
  double at_y(double value) const { return bottom - (value - y.low) / (y.high - y.low) * (bottom - top); }
};

struct Size {
  double width = 0, height = 0;
};

// A frame with room for the tick labels of both axes, and the axes themselves, appended to `svg`. y_label stands above the axis.
Frame draw_axes(std::string& svg, const Size& size, const Range& x, const Range& y, const std::string& x_label, const std::string& y_label,
                bool whole_x);

// Grid line, tick label and axis label of x alone, for figures whose rows have names.
void draw_x_axis(std::string& svg, const Frame& frame, const std::string& label, bool whole_numbers);

// A dashed line at `reference` on the x axis with its label at height `label_y`; empty where it lies outside.
std::string vertical_reference(const Frame& frame, const Reference& reference, double label_y);

// Text at a point. `anchor` is "start", "middle" or "end"; `kind` a class of the style sheet, may be empty. `text` is escaped here.
std::string text_at(double x, double y, std::string_view anchor, std::string_view kind, std::string_view text);

double text_width(std::string_view text);                  // estimated, generous
std::string shorten(std::string_view text, double width);  // with "..." where it is wider

// Looks: every slot differs in colour, marker and dash, so that none depends on colour alone.
std::string colour_class(size_t slot);
std::string dash_attribute(size_t slot);                                  // with a leading space, or empty
std::string marker_path(size_t slot, double x, double y, double radius);  // path data
std::string bad_mark(double x, double y);                                 // the red mark of a value that is not finite

// Indices to draw, at most `limit` and ascending: of each stretch the least and greatest y, low and high, and one value that is not
// finite; the first and the last point always.
std::vector<size_t> thin(const Series& series, size_t limit);

}  // namespace keel::evaluation
