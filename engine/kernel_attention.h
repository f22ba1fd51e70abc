// The attention of kernel_body.h, which includes this inside its namespace, after softmax().
//
// A score adds its terms in the order of a head's numbers, an output in the order of the positions, and no query sees what stands beside
// it: a result is the same whatever the queries that are computed with it.

constexpr int64_t kSums = kTileSums / kParts;                       // of kLanes floats, that registers hold
constexpr int64_t kScoreQueries = kSums >= 12 ? kSums / 2 : kSums;  // at least two pages at once where registers allow it
constexpr int64_t kMostPages = 4, kMostWide = std::min<int64_t>(4, kSums);

// A stretch of queries: each `step` floats behind the one before. The first one sees `positions` positions, each other one `more` of them
// than the one before: 0 for heads of one token, 1 for tokens that follow one another.
struct Queries {
  const float* q;
  int64_t step, count, positions, more;
};

// What of a page belongs to one head: keys [size, kPage], then values [kPage, size rounded up to kLanes].
struct HeadPages {
  const float* const* pages;
  int64_t offset, size;
};

// Scores of `Count` queries with the keys of `Pages` pages.
template <int64_t Count, int64_t Pages>
inline void page_scores(const float* q, int64_t q_step, const HeadPages& head, int64_t first_page, float scale, float* scores,
                        int64_t stride) {
  const float* keys[Pages];
  for (int64_t page = 0; page < Pages; ++page)
    keys[page] = head.pages[first_page + page] + head.offset;
  Lanes sums[Count][Pages];
  set_to_zero(sums);
  for (int64_t d = 0; d < head.size; ++d) {
    Lanes key[Pages];
#pragma GCC unroll 16
    for (int64_t page = 0; page < Pages; ++page)
      key[page] = load_lanes(keys[page] + d * kPage);
#pragma GCC unroll 16
    for (int64_t j = 0; j < Count; ++j) {
      const Vector value = all(q[j * q_step + d]);
#pragma GCC unroll 16
      for (int64_t page = 0; page < Pages; ++page)
#pragma GCC unroll 4
        for (int64_t p = 0; p < kParts; ++p)
          sums[j][page].part[p] += value * key[page].part[p];
    }
  }
#pragma GCC unroll 16
  for (int64_t j = 0; j < Count; ++j)
#pragma GCC unroll 16
    for (int64_t page = 0; page < Pages; ++page) {
#pragma GCC unroll 4
      for (int64_t p = 0; p < kParts; ++p)
        sums[j][page].part[p] *= scale;
      store_lanes(scores + j * stride + (first_page + page) * kPage, sums[j][page]);
    }
}

template <int64_t Count>
void scores_of(const float* q, int64_t q_step, const HeadPages& head, int64_t pages, float scale, float* scores, int64_t stride) {
  constexpr int64_t kTogether = std::clamp<int64_t>(kSums / Count, 1, kMostPages);
  int64_t page = 0;
  for (; page + kTogether <= pages; page += kTogether)
    page_scores<Count, kTogether>(q, q_step, head, page, scale, scores, stride);
  for (; page < pages; ++page)
    page_scores<Count, 1>(q, q_step, head, page, scale, scores, stride);
}

// out = p V for `Count` queries: `Wide` times kLanes numbers of each, from `first` on.
template <int64_t Count, int64_t Wide>
void mix(const float* p, int64_t stride, const HeadPages& head, int64_t first, int64_t positions, int64_t more, float* out,
         int64_t out_step) {
  const int64_t row = round_up(head.size, kLanes), values_at = head.offset + head.size * kPage + first;
  Lanes sums[Count][Wide];
  set_to_zero(sums);
  const auto add = [&](const float* values, int64_t position, auto from) __attribute__((always_inline)) {
    Lanes value[Wide];
#pragma GCC unroll 4
    for (int64_t w = 0; w < Wide; ++w)
      value[w] = load_lanes(values + w * kLanes);
#pragma GCC unroll 16
    for (int64_t j = from; j < Count; ++j) {
      const Vector share = all(p[j * stride + position]);
#pragma GCC unroll 4
      for (int64_t w = 0; w < Wide; ++w)
#pragma GCC unroll 4
        for (int64_t part = 0; part < kParts; ++part)
          sums[j][w].part[part] += share * value[w].part[part];
    }
  };
  for (int64_t begin = 0; begin < positions; begin += kPage) {
    const float* values = head.pages[begin / kPage] + values_at;
    for (int64_t position = begin; position < std::min(positions, begin + kPage); ++position, values += row)
      add(values, position, std::integral_constant<int64_t, 0>{});
  }
  if (more > 0)  // positions that only later queries see
    [&]<int64_t... Before>(std::integer_sequence<int64_t, Before...>) {
      (add(head.pages[(positions + Before) / kPage] + values_at + (positions + Before) % kPage * row, positions + Before,
           std::integral_constant<int64_t, Before + 1>{}),
       ...);
    }
  (std::make_integer_sequence<int64_t, Count - 1>{});
#pragma GCC unroll 16
  for (int64_t j = 0; j < Count; ++j)
#pragma GCC unroll 4
    for (int64_t w = 0; w < Wide; ++w)
      store_part(out + j * out_step + first, w * kLanes, head.size - first, sums[j][w]);
}

using ScoresOf = void (*)(const float*, int64_t, const HeadPages&, int64_t, float, float*, int64_t);
using Mix = void (*)(const float*, int64_t, const HeadPages&, int64_t, int64_t, int64_t, float*, int64_t);

template <int64_t... Before>
constexpr std::array<ScoresOf, sizeof...(Before)> scores_by_count(std::integer_sequence<int64_t, Before...>) {
  return {scores_of<Before + 1>...};
}

// Queries whose outputs are mixed at once; more than a dozen would only lengthen the table.
constexpr int64_t mixed_together(int64_t wide) {
  return std::min<int64_t>(kSums / wide, 12);
}

template <int64_t Wide, int64_t... Before>
constexpr std::array<Mix, mixed_together(1)> mixes(std::integer_sequence<int64_t, Before...>) {
  return {mix<Before + 1, Wide>...};
}

template <int64_t... Before>
constexpr std::array<std::array<Mix, mixed_together(1)>, sizeof...(Before)> mixes_by_width(std::integer_sequence<int64_t, Before...>) {
  return {mixes<Before + 1>(std::make_integer_sequence<int64_t, mixed_together(Before + 1)>{})...};
}

// scores: room for count * (positions of the last query rounded up to kPage)
void attend_together(const Queries& queries, const HeadPages& head, float scale, float* scores, float* out, int64_t out_step) {
  static constexpr auto kScores = scores_by_count(std::make_integer_sequence<int64_t, kScoreQueries>{});
  static constexpr auto kMixes = mixes_by_width(std::make_integer_sequence<int64_t, kMostWide>{});
  const auto positions_of = [&](int64_t j) { return queries.positions + j * queries.more; };
  const int64_t stride = round_up(positions_of(queries.count - 1), kPage);
  for (int64_t j = 0; j < queries.count; j += kScoreQueries) {
    const int64_t count = std::min(kScoreQueries, queries.count - j), pages = round_up(positions_of(j + count - 1), kPage) / kPage;
    kScores[static_cast<size_t>(count - 1)](queries.q + j * queries.step, queries.step, head, pages, scale, scores + j * stride, stride);
  }
  for (int64_t j = 0; j < queries.count; ++j)
    softmax(scores + j * stride, positions_of(j), round_up(positions_of(j), kPage));
  const int64_t widest = queries.count == 1 ? kMostWide : std::max<int64_t>(1, std::min(kMostWide, kSums / 2));
  for (int64_t first = 0; first < head.size;) {
    const int64_t wide = std::min(widest, round_up(head.size - first, kLanes) / kLanes), most = mixed_together(wide);
    for (int64_t j = 0; j < queries.count; j += most) {
      const int64_t count = std::min(most, queries.count - j);
      kMixes[static_cast<size_t>(wide - 1)][static_cast<size_t>(count - 1)](scores + j * stride, stride, head, first, positions_of(j),
                                                                            queries.more, out + j * out_step, out_step);
    }
    first += wide * kLanes;
  }
}

void attend(const float* q, int64_t q_row, const float* const* pages, int64_t page_offset, int64_t positions, int64_t rows, int64_t queries,
            int64_t size, float scale, float* scores, float* out, int64_t out_row) {
  const HeadPages head{pages, page_offset, size};
  if (rows == 1) return attend_together({q, size, queries, positions, 0}, head, scale, scores, out, size);
  for (int64_t j = 0; j < queries; ++j)
    attend_together({q + j * size, q_row, rows, positions, 1}, head, scale, scores, out + j * size, out_row);
}
