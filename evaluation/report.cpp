#include "evaluation/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>

#include "evaluation/figures.h"
#include "evaluation/report_style.h"
#include "evaluation/svg.h"

namespace keel::evaluation {
namespace {

constexpr size_t kLargestPage = 2'000'000;
constexpr int kThinnings = 7;  // halvings of the detail before a page is left too large

std::string message_html(const std::string& text, size_t limit) {
  if (text.empty()) return "<p class=\"message empty\">(empty)</p>\n";
  const std::string_view shown = cut_text(text, limit);
  std::string html = "<p class=\"message\">" + escape(shown) + "</p>\n";
  if (shown.size() < text.size()) html += fmt::format("<p class=\"note\">{} more bytes are not shown.</p>\n", text.size() - shown.size());
  return html;
}

std::string render_dialogue(const SampleDialogue& dialogue, const Look& look) {
  std::string html = "<article class=\"card\">\n";
  if (!dialogue.title.empty()) html += "<h3>" + escape(dialogue.title) + "</h3>\n";
  for (const core::Message& message : dialogue.prompt) {
    html += "<div class=\"prompt\"><span class=\"role\">" + escape(message.role) + "</span>" +
            message_html(message.content, look.detail.text) + "</div>\n";
  }
  std::vector<std::string> names;
  for (const ModelAnswer& answer : dialogue.answers)
    names.push_back(answer.model);
  const std::vector<size_t> looks = slots(names, look.models);
  html += "<div class=\"answers\">\n";
  for (size_t i = 0; i < dialogue.answers.size(); ++i) {
    const ModelAnswer& answer = dialogue.answers[i];
    html += fmt::format("<div class=\"answer {}\"><h4>{}</h4>\n", colour_class(looks[i]), escape(answer.model));
    html += message_html(answer.text, look.detail.text);
    std::string scores;
    for (const auto& [name, score] : answer.scores)
      scores += (scores.empty() ? "<span>" : " &#183; <span>") + escape(name) + " " + number_cell(score).text + "</span>";
    if (!scores.empty()) html += "<p class=\"scores\">" + scores + "</p>\n";
    html += "</div>\n";
  }
  return html + "</div>\n</article>\n";
}

std::string render_blocks(const Section& section, Look& look) {
  std::string html;
  bool in_grid = false;  // figures that follow each other share a grid
  for (const Block& block : section.blocks) {
    const bool figure = !std::holds_alternative<Table>(block) && !std::holds_alternative<SampleDialogue>(block);
    if (figure && !in_grid) html += section.small ? "<div class=\"figures small\">\n" : "<div class=\"figures\">\n";
    if (!figure && in_grid) html += "</div>\n";
    in_grid = figure;
    ++look.number;
    html += std::visit(
        [&](const auto& content) -> std::string {
          using Kind = std::decay_t<decltype(content)>;
          if constexpr (std::is_same_v<Kind, Table>) {
            return "<div class=\"card\">" + html_table(content, 5 * look.detail.rows) + "</div>\n";
          } else if constexpr (std::is_same_v<Kind, SampleDialogue>) {
            return render_dialogue(content, look);
          } else {
            return render_figure(content, look);
          }
        },
        block);
  }
  return in_grid ? html + "</div>\n" : html;
}

std::string paragraphs(const std::string& text) {
  std::string html;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find("\n\n", begin), text.size());
    if (end > begin) html += "<p>" + escape(text.substr(begin, end - begin)) + "</p>\n";
    begin = end + 2;
  }
  return html;
}

std::string page_head(const Report& report) {
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n";
  html += "<title>" + escape(report.title) + "</title>\n<style>";
  html += kReportStyle;
  html += "</style>\n</head>\n<body>\n<header>\n<h1>" + escape(report.title) + "</h1>\n";
  if (!report.subtitle.empty()) html += "<p class=\"subtitle\">" + escape(report.subtitle) + "</p>\n";
  if (!report.facts.empty()) {
    html += "<dl class=\"facts\">";
    for (const auto& [name, value] : report.facts)
      html += "<div><dt>" + escape(name) + "</dt><dd>" + escape(value) + "</dd></div>";
    html += "</dl>\n";
  }
  html += "</header>\n";
  if (report.sections.empty()) return html;
  html += "<nav aria-label=\"sections\"><ul>";
  for (size_t i = 0; i < report.sections.size(); ++i) {
    html += fmt::format("<li><a href=\"#s{}\">{}</a></li>", i + 1, escape(report.sections[i].heading));
  }
  return html + "</ul></nav>\n";
}

std::string render_page(const Report& report, const Detail& detail) {
  Look look{report.models, detail, false, 0};
  std::string html = page_head(report) + "<main>\n";
  if (!report.summary.columns.empty()) html += "<div class=\"card summary\">" + html_table(report.summary, 5 * detail.rows) + "</div>\n";
  for (size_t i = 0; i < report.sections.size(); ++i) {
    const Section& section = report.sections[i];
    html += fmt::format("<section id=\"s{}\">\n<h2>{}</h2>\n", i + 1, escape(section.heading)) + paragraphs(section.text);
    look.small = section.small;
    html += render_blocks(section, look) + "</section>\n";
  }
  return html +
         "</main>\n<footer>Made by keel. This page holds everything it shows: no script, nothing is loaded.</footer>\n</body>\n</html>\n";
}

}  // namespace

std::string render_html(const Report& report) {
  Detail detail;
  std::string page = render_page(report, detail);
  for (int i = 0; i < kThinnings && page.size() > kLargestPage; ++i) {
    detail = {detail.points / 2, detail.rows / 2, detail.text / 2};
    page = render_page(report, detail);
  }
  return page;
}

}  // namespace keel::evaluation
