// Several requests at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>

namespace keel::annotation {

// Calls work(0), ..., work(count - 1), each once, on at most `workers` threads. After one of them throws, no further ones begin; returns
// what it threw, else nothing. With fewer threads to be had, those that there are do everything.
std::exception_ptr run_in_parallel(int64_t workers, size_t count, const std::function<void(size_t)>& work);

}  // namespace keel::annotation
