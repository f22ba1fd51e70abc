// The products of kernel_body.h, which includes this inside its namespace, after vectors and before everything else.

inline void add_product(Vector& sum, const Vector& a, const Vector& b) {
  sum += a * b;
}

// What a tile asks for meanwhile, so that it is in the cache when its turn comes: `step` bytes, at most two lines, for each term.
struct Ahead {
  const char* at;
  int64_t step;
};

// `Rows` rows by `Wide` vectors of c = a b, over `terms` of the inner index; b in a panel [terms, kPanel]. `RowMajor`: a_term is 1. The
// sums stay in registers from the first term to the store, for which every loop over them must be unrolled.
template <class Left, class Number, int64_t Rows, int64_t Wide, bool RowMajor, bool LooksAhead>
void tile(const Left* a, int64_t a_row, int64_t a_term, const Number* panel, int64_t terms, float* c, int64_t c_row, int64_t columns,
          bool add, Ahead ahead) {
  if constexpr (RowMajor) a_term = 1;
  for (int64_t r = 0; r < Rows; ++r)  // the sums go there at the end
    for (int64_t v = 0; v < Wide; ++v)
      __builtin_prefetch(c + r * c_row + v * kWidth, 1);
  Vector sums[Rows][Wide];
  set_to_zero(sums);
  for (int64_t k = 0; k < terms; ++k, a += a_term) {
    if constexpr (LooksAhead) {
      __builtin_prefetch(ahead.at, 0, 2);
      __builtin_prefetch(ahead.at + 64, 0, 2);
      ahead.at += ahead.step;
    }
    decltype(load(panel)) weights[Wide];
#pragma GCC unroll 16
    for (int64_t v = 0; v < Wide; ++v)
      weights[v] = load(panel + k * kPanel + v * kWidth);
#pragma GCC unroll 16
    for (int64_t r = 0; r < Rows; ++r) {
      const auto value = all(a[r * a_row]);
#pragma GCC unroll 16
      for (int64_t v = 0; v < Wide; ++v)
        add_product(sums[r][v], value, weights[v]);
    }
  }
  if (columns >= Wide * kWidth) {
#pragma GCC unroll 16
    for (int64_t r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int64_t v = 0; v < Wide; ++v) {
        float* to = c + r * c_row + v * kWidth;
        store(to, add ? load(to) + sums[r][v] : sums[r][v]);
      }
    return;
  }
#pragma GCC unroll 16
  for (int64_t r = 0; r < Rows; ++r) {
    float values[Wide * kWidth];
#pragma GCC unroll 16
    for (int64_t v = 0; v < Wide; ++v)
      store(values + v * kWidth, sums[r][v]);
    for (int64_t column = 0; column < columns; ++column) {
      float& to = c[r * c_row + column];
      to = add ? to + values[column] : values[column];
    }
  }
}

template <class Left, class Number>
using Tile = void (*)(const Left*, int64_t, int64_t, const Number*, int64_t, float*, int64_t, int64_t, bool, Ahead);

template <class Left, class Number, int64_t Wide, bool RowMajor, bool LooksAhead, int64_t... Rows>
constexpr std::array<Tile<Left, Number>, sizeof...(Rows)> tiles(std::integer_sequence<int64_t, Rows...>) {
  return {tile<Left, Number, Rows + 1, Wide, RowMajor, LooksAhead>...};
}

template <class Left, class Number, int64_t Wide>
Tile<Left, Number> tile_of(int64_t rows, bool row_major, bool looks_ahead) {
  constexpr auto kCounts = std::make_integer_sequence<int64_t, kTileSums / Wide>{};
  static constexpr std::array kTiles = {tiles<Left, Number, Wide, false, false>(kCounts), tiles<Left, Number, Wide, false, true>(kCounts),
                                        tiles<Left, Number, Wide, true, false>(kCounts), tiles<Left, Number, Wide, true, true>(kCounts)};
  return kTiles[size_t{row_major} * 2 + size_t{looks_ahead}][static_cast<size_t>(rows - 1)];
}

// All rows by one panel. Few rows read the panel once, in whole lines of the cache; more take a part of its columns at a time, which leaves
// sums for more rows. `next`: the panel that comes after this one, where it is still in memory; one tile alone waits for memory anyway.
template <class Left, class Number>
void multiply_panel(const Left* a, int64_t a_row, int64_t a_term, const Number* panel, int64_t terms, float* c, int64_t c_row, int64_t rows,
                    int64_t columns, bool add, const Number* next = nullptr) {
  constexpr int64_t kWhole = kPanel / kWidth, kFew = kTileSums / kWhole, kMany = kTileSums / kTileVectors;
  const bool whole = rows <= kFew;
  const int64_t wide = whole ? kPanel : kTileVectors * kWidth, count = whole ? 1 : (rows + kMany - 1) / kMany;
  Ahead ahead{reinterpret_cast<const char*>(next), next != nullptr ? wide * int64_t{sizeof(Number)} / count : 0};
  for (int64_t part = 0, row = 0; part < count; ++part) {
    const int64_t together = (rows - row + count - part - 1) / (count - part);  // equal tiles, not full ones and a rest
    const auto compute = whole ? tile_of<Left, Number, kWhole>(together, a_term == 1, false)
                               : tile_of<Left, Number, kTileVectors>(together, a_term == 1, next != nullptr);
    for (int64_t column = 0; column < std::min(kPanel, columns); column += wide, ahead.at += ahead.step * terms)
      compute(a + row * a_row, a_row, a_term, panel + column, terms, c + row * c_row + column, c_row, columns - column, add, ahead);
    row += together;
  }
}

// Calls `use` with the numbers as what they are.
template <class Use>
void as_stored(const Stored& numbers, Use&& use) {
  if (numbers.bf16 != nullptr)
    use(numbers.bf16);
  else
    use(numbers.fp32);
}

void multiply(const float* x, const Stored& panels, float* y, int64_t rows, int64_t inner, int64_t columns, int64_t y_stride, int64_t begin,
              int64_t end, Into into) {
  if (rows == 0) return;
  as_stored(panels, [&](const auto* numbers) {
    for (int64_t panel = begin; panel < end; ++panel)
      for (int64_t block = 0; block < inner; block += kBlock)
        multiply_panel(x + block, inner, 1, numbers + (panel * inner + block) * kPanel, std::min(kBlock, inner - block), y + panel * kPanel,
                       y_stride, rows, columns - panel * kPanel, into == Into::add || block > 0,
                       panel + 1 < end ? numbers + ((panel + 1) * inner + block) * kPanel : nullptr);
  });
}

// One step of turning a square of vectors: entry (i, j + Apart) changes places with (i + Apart, j), for the i and j without that bit.
template <int64_t Apart, int64_t... Column>
inline void exchange(Vector (&square)[kWidth], std::integer_sequence<int64_t, Column...>) {
#pragma GCC unroll 16
  for (int64_t i = 0; i < kWidth; ++i) {
    if ((i & Apart) != 0) continue;
    const Vector upper = square[i], lower = square[i + Apart];
    square[i] = __builtin_shufflevector(upper, lower, ((Column & Apart) != 0 ? kWidth + Column - Apart : Column)...);
    square[i + Apart] = __builtin_shufflevector(upper, lower, ((Column & Apart) != 0 ? kWidth + Column : Column + Apart)...);
  }
  if constexpr (Apart > 1) exchange<Apart / 2>(square, std::make_integer_sequence<int64_t, kWidth>{});
}

// to[k * to_row + c] = from[c * row + k] for k, c < kWidth.
template <class Number>
inline void turn(const Number* from, int64_t row, float* to, int64_t to_row) {
  Vector square[kWidth];
#pragma GCC unroll 16
  for (int64_t c = 0; c < kWidth; ++c)
    square[c] = load(from + c * row);
  exchange<kWidth / 2>(square, std::make_integer_sequence<int64_t, kWidth>{});
#pragma GCC unroll 16
  for (int64_t k = 0; k < kWidth; ++k)
    store(to + k * to_row, square[k]);
}

// Copies b's columns first..first+kPanel and rows 0..terms into a panel, missing columns as 0.
template <class Number>
void copy_panel(const Number* b, int64_t b_row, int64_t b_column, int64_t first, int64_t columns, int64_t terms, float* panel) {
  const int64_t here = std::min(kPanel, columns - first), whole = here / kWidth * kWidth;
  if (here < kPanel) std::fill_n(panel, terms * kPanel, 0.f);
  const Number* const from = b + first * b_column;
  const auto copy = [&](int64_t k_begin, int64_t k_end, int64_t column_begin, int64_t column_end) {  // one by one
    for (int64_t column = column_begin; column < column_end; ++column)
      for (int64_t k = k_begin; k < k_end; ++k)
        panel[k * kPanel + column] = widened(from[k * b_row + column * b_column]);
  };
  if (b_column == 1) {
    if (here < kPanel) return copy(0, terms, 0, here);
    for (int64_t k = 0; k < terms; ++k)
#pragma GCC unroll 16
      for (int64_t column = 0; column < kPanel; column += kWidth)  // unrolled, for the compiler would call memmove() for each row
        store(panel + k * kPanel + column, load(from + k * b_row + column));
  } else if (b_row == 1) {
    const int64_t squares = terms / kWidth * kWidth;
    for (int64_t column = 0; column < whole; column += kWidth)
      for (int64_t k = 0; k < squares; k += kWidth)
        turn(from + column * b_column + k, b_column, panel + k * kPanel + column, kPanel);
    copy(squares, terms, 0, whole);
    copy(0, terms, whole, here);
  } else {
    copy(0, terms, 0, here);
  }
}

// to[r * kLeftRow + k] = from[r * row + k * column] for the rows and terms of a left matrix.
void copy_left(const float* from, int64_t row, int64_t column, int64_t rows, int64_t terms, float* to) {
  const int64_t square_rows = row == 1 ? rows / kWidth * kWidth : 0, square_terms = terms / kWidth * kWidth;
  for (int64_t k = 0; k < square_terms; k += kWidth)
    for (int64_t r = 0; r < square_rows; r += kWidth)
      turn(from + k * column + r, column, to + r * kLeftRow + k, kLeftRow);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = r < square_rows ? square_terms : 0; k < terms; ++k)
      to[r * kLeftRow + k] = from[r * row + k * column];
}

void lay_out(const float* from, int64_t terms, int64_t columns, void* to) {
  copy_panel(from, 1, terms, 0, columns, terms, static_cast<float*>(to));
}

// What a product without terms leaves in the columns of its panels.
inline void clear(float* c, int64_t c_row, int64_t rows, int64_t columns, int64_t begin, int64_t end) {
  for (int64_t row = 0; row < rows; ++row)
    std::fill(c + row * c_row + begin * kPanel, c + row * c_row + std::min(columns, end * kPanel), 0.f);
}

// Where the rows of a stand in columns, a tile would read a line of the cache for each of its terms, and lines whose distance is a power of
// two or near it drive one another out: such rows are copied first.
void product(const Matrix& a, const Matrix& b, float* c, int64_t c_row, int64_t rows, int64_t terms, int64_t columns, int64_t begin,
             int64_t end, Into into, float* room) {
  float *const panel = room, *const left = room + kBlock * kPanel;
  const bool in_rows = a.column == 1;
  if (terms == 0 && into == Into::replace) clear(c, c_row, rows, columns, begin, end);
  for (int64_t block = 0; block < terms; block += kBlock)  // outside: the block of a is read again for each panel
    for (int64_t row = 0, together = in_rows ? rows : kLeftRows; row < rows; row += together) {
      const int64_t here = std::min(kBlock, terms - block), count = std::min(together, rows - row);
      const float* const from = a.data.fp32 + row * a.row + block * a.column;
      if (!in_rows) copy_left(from, a.row, a.column, count, here, left);
      for (int64_t p = begin; p < end; ++p) {
        as_stored(b.data,
                  [&](const auto* numbers) { copy_panel(numbers + block * b.row, b.row, b.column, p * kPanel, columns, here, panel); });
        multiply_panel(in_rows ? from : left, in_rows ? a.row : kLeftRow, 1, panel, here, c + row * c_row + p * kPanel, c_row, count,
                       columns - p * kPanel, into == Into::add || block > 0);
      }
    }
}
