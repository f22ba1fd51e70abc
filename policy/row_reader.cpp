#include "policy/row_reader.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <utility>

#include "core/interrupt.h"
#include "policy/packed_model.h"
#include "runtime/parallel.h"

namespace keel::policy {

RowReader::RowReader(const Llama& model, const at::Tensor& head) : model_(model), head_(head) {
  engine::Team team(at::get_num_threads());
  packed_ = packed_model(model_, head_, can_stay_packed(model_) ? engine::Layout::panels : engine::Layout::as_they_lie, team);
}

void RowReader::read(const std::vector<core::Ids>& rows, const std::vector<int64_t>& wanted_from, const std::string& activity,
                     const std::function<void(engine::Forward&, std::span<const engine::Place>)>& use) const {
  // Rows that begin alike stand together. Each worker takes the next few thousand tokens of them.
  constexpr int64_t kTogether = 2048;
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, [&](size_t a, size_t b) { return rows[a] < rows[b]; });
  std::vector<std::pair<size_t, size_t>> groups;
  int64_t tokens = 0;
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    for (const int64_t before = tokens; end < order.size() && tokens - before < kTogether; ++end)
      tokens += std::ssize(rows[order[end]]);
    groups.emplace_back(begin, end);
  }
  const int threads = threads_for(model_, tokens);
  const int workers = std::ssize(groups) >= 2 * threads ? runtime::worker_count(threads) : 1;
  std::atomic<size_t> next = 0;
  runtime::for_each_piece(workers, [&](int64_t) {
    engine::Reader reader(packed_, threads / workers);
    for (size_t group = next++; group < groups.size(); group = next++) {
      core::stop_if_interrupted(activity);
      const auto [begin, end] = groups[group];
      std::vector<const core::Ids*> part;
      std::vector<int64_t> from;
      for (size_t i = begin; i < end; ++i) {
        part.push_back(&rows[order[i]]);
        from.push_back(wanted_from[order[i]]);
      }
      reader.read(part, from, [&](engine::Forward& forward, std::span<const engine::Place> places) {
        std::vector<engine::Place> named(places.begin(), places.end());
        for (engine::Place& place : named)
          place.row = order[begin + place.row];
        use(forward, named);
      });
    }
  });
}

}  // namespace keel::policy
