#include "engine/reader.h"

#include <algorithm>

namespace keel::engine {

Reader::Reader(const Model& model, int threads)
    : team_(threads), pages_(model.shape, static_cast<int64_t>(model.layers.size())), forward_(model, pages_, team_) {}

void Reader::read(std::span<const core::Ids* const> rows, std::span<const int64_t> wanted_from,
                  const std::function<void(Forward& forward, std::span<const Place> places)>& use) {
  std::vector<Sequence> sequences(rows.size());
  std::vector<Row> pass;
  std::vector<int64_t> wanted;
  std::vector<Place> places;
  size_t oldest = 0;  // row whose pages are still held
  const auto compute = [&](size_t next) {
    if (!pass.empty()) forward_.run(pass, wanted);
    if (!places.empty()) use(forward_, places);
    pass.clear();
    wanted.clear();
    places.clear();
    for (; oldest < next; ++oldest)
      pages_.release(sequences[oldest]);
  };
  for (size_t i = 0; i < rows.size(); ++i) {
    const core::Ids& ids = *rows[i];
    const auto length = static_cast<int64_t>(ids.size());
    Sequence& sequence = sequences[i];
    if (i > 0) {
      const core::Ids& before = *rows[i - 1];
      const auto most = std::min({length, static_cast<int64_t>(before.size()), wanted_from[i]});
      const int64_t equal = std::mismatch(ids.begin(), ids.begin() + most, before.begin()).first - ids.begin();
      sequence = pages_.fork(sequences[i - 1], equal / kPage * kPage);
    }
    int64_t position = sequence.length;
    pages_.extend(sequence, length);
    for (; position < length; ++position) {
      if (static_cast<int64_t>(pass.size()) == kPassRows) compute(i);
      if (position >= wanted_from[i]) {
        wanted.push_back(static_cast<int64_t>(pass.size()));
        places.push_back({i, position});
      }
      pass.push_back({&sequence, ids[static_cast<size_t>(position)], position});
    }
  }
  compute(rows.size());
}

}  // namespace keel::engine
