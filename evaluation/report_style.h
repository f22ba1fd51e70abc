// The style sheet of report.html.
#pragma once

#include <string_view>

namespace keel::evaluation {

extern const std::string_view kReportStyle;

}  // namespace keel::evaluation
