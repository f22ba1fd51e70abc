#include "data/render_limits.h"

namespace keel::data {

bool shorten_until_fits_(core::Dialogue& dialogue, const RenderLimits& limits, Counts& counts,
                         const std::function<int64_t(const core::Dialogue&)>& render) {
  const auto fits = [&] { return render(dialogue) <= limits.max_tokens; };
  if (fits()) {
    ++counts.kept;
    return true;
  }
  // The fewest exchanges to drop, by bisection: a dialogue of thousands would else be rendered thousands of times.
  const core::Dialogue whole = dialogue;
  const auto shorten = [&](size_t exchanges) {
    const auto first = whole.messages.begin() + (whole.messages[0].role == "system" ? 1 : 0);
    dialogue.messages.assign(whole.messages.begin(), first);
    dialogue.messages.insert(dialogue.messages.end(), first + static_cast<std::ptrdiff_t>(2 * exchanges), whole.messages.end());
  };
  const size_t turns = whole.messages.size() - (whole.messages[0].role == "system" ? 1 : 0);
  size_t too_few = 0, most = limits.drop_oldest_turns ? (turns - 1) / 2 : 0;  // the last exchange stays
  shorten(most);
  if (most == 0 || !fits()) {
    ++counts.dropped["over_long"];
    return false;
  }
  size_t enough = most;
  while (enough - too_few > 1) {
    const size_t middle = (too_few + enough) / 2;
    shorten(middle);
    (fits() ? enough : too_few) = middle;
  }
  shorten(enough);
  fits();  // the caller keeps what it rendered last
  ++counts.kept;
  ++counts.truncated["oldest_turns"];
  return true;
}

}  // namespace keel::data
