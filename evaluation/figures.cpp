#include "evaluation/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/error.h"

namespace keel::evaluation {
namespace {

std::string table_cell(const Cell& cell, ColumnKind kind) {
  const char* const style = kind == ColumnKind::number ? " class=\"num\"" : "";
  std::string text = escape(cell.text);
  if (kind == ColumnKind::code && !text.empty()) text = "<code>" + text + "</code>";
  if (!cell.detail.empty()) text += " <span class=\"detail\">" + escape(cell.detail) + "</span>";
  return fmt::format("<td{}>{}</td>", style, text);
}

}  // namespace

std::string html_table(const Table& table, size_t limit) {
  std::string html = "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"table\">\n<table>";
  if (!table.title.empty()) html += "<caption>" + escape(table.title) + "</caption>";
  html += "\n<thead><tr>";
  for (const Column& column : table.columns) {
    html += fmt::format("<th scope=\"col\"{}>{}</th>", column.kind == ColumnKind::number ? " class=\"num\"" : "", escape(column.name));
  }
  html += "</tr></thead>\n<tbody>\n";
  for (size_t i = 0; i < std::min(limit, table.rows.size()); ++i) {
    const auto& row = table.rows[i];
    if (row.size() != table.columns.size()) {
      throw core::Error(core::Exit::internal, fmt::format("[evaluation.report] table '{}' has {} columns, but a row of {} cells",
                                                          table.title, table.columns.size(), row.size()));
    }
    html += "<tr>";
    for (size_t column = 0; column < row.size(); ++column)
      html += table_cell(row[column], table.columns[column].kind);
    html += "</tr>\n";
  }
  html += "</tbody></table></div>\n";
  if (table.rows.size() > limit) html += fmt::format("<p class=\"note\">The first {} of {} rows.</p>\n", limit, table.rows.size());
  if (!table.note.empty()) html += "<p class=\"note\">" + escape(table.note) + "</p>\n";
  return html;
}

std::string figure_html(const Figure& figure, const Look& look) {
  const std::string id = fmt::format("f{}", look.number);
  std::string html = "<figure>\n<figcaption>" + escape(figure.title) + "</figcaption>\n";
  if (!figure.legend.empty()) html += "<div class=\"legend\">" + figure.legend + "</div>\n";
  html += fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{}t {}d\">", coordinate(figure.size.width),
                      coordinate(figure.size.height), id, id);
  html += fmt::format("<title id=\"{}t\">{}</title><desc id=\"{}d\">{}</desc>\n", id, escape(figure.title), id, escape(figure.description));
  html += figure.drawing + "</svg>\n";
  std::string note = escape(figure.caption);
  if (figure.not_finite > 0) {
    note += fmt::format(" <span class=\"warn\">{} value{} not finite (NaN or infinite), marked in red.</span>", figure.not_finite,
                        figure.not_finite == 1 ? " is" : "s are");
  }
  if (!figure.note.empty()) note += " " + escape(figure.note);
  if (!note.empty()) html += "<p class=\"note\">" + note + "</p>\n";
  html += "<details><summary>Data</summary>\n" + html_table(figure.data, look.detail.rows) + "</details>\n</figure>\n";
  return html;
}

std::vector<size_t> slots(const std::vector<std::string>& names, const std::vector<std::string>& models) {
  std::map<std::string, size_t> slot_of;
  std::set<size_t> taken;
  for (const std::string& name : names) {
    const auto model = std::find(models.begin(), models.end(), name);
    if (model != models.end()) taken.insert(slot_of[name] = static_cast<size_t>(model - models.begin()));
  }
  std::vector<size_t> result;
  size_t next = 0;
  for (const std::string& name : names) {
    if (!slot_of.contains(name)) {
      while (taken.contains(next))
        ++next;
      slot_of[name] = next++;
    }
    result.push_back(slot_of[name]);
  }
  return result;
}

std::string legend_item(Swatch swatch, size_t slot, const std::string& text, bool dashed) {
  std::string drawing;
  if (swatch == Swatch::area) drawing += "<path class=\"area\" d=\"M1 12V2H25V12z\"/>";
  if (swatch != Swatch::marker) {
    const char* const path = swatch == Swatch::area ? "M1 12V2H25V12" : "M1 7H25";
    drawing += fmt::format("<path class=\"line\"{} d=\"{}\"/>", dashed ? dash_attribute(slot) : "", path);
  }
  if (swatch != Swatch::area) drawing += fmt::format("<path class=\"dot\" d=\"{}\"/>", marker_path(slot, 13, 7, 3.2));
  return fmt::format("<span><svg class=\"key {}\" viewBox=\"0 0 26 14\" aria-hidden=\"true\">{}</svg>{}</span>", colour_class(slot),
                     drawing, escape(text));
}

}  // namespace keel::evaluation
