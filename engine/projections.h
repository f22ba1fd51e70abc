// The matrices of a Llama's layer, by name.
#pragma once

#include <array>

namespace keel::engine {

// One T for each of them, in file order.
template <class T>
struct Projections {
  T q, k, v, o, gate, up, down;
  std::array<T*, 7> all() { return {&q, &k, &v, &o, &gate, &up, &down}; }
  std::array<const T*, 7> all() const { return {&q, &k, &v, &o, &gate, &up, &down}; }
};

}  // namespace keel::engine
