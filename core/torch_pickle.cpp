#include "core/torch_pickle.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "core/utf8.h"

namespace keel::core {
namespace {

enum class Kind { none, boolean, integer, text, list, tuple, dictionary, make_dictionary, make_tensor, storage_type, storage, tensor };

// Values stand in one list and name each other by their place in it, so that no depth of nesting takes stack, and a value that many others
// hold is there once.
using Index = uint32_t;

struct Value {
  Kind kind = Kind::none;
  int64_t integer = 0;
  std::string_view text;  // of texts; of a storage type its dtype
  std::vector<Index>
      parts;  // of tuples and lists; of dictionaries key, value, key, value; of a storage type, key and size; of a tensor its arguments
};

struct Global {
  std::string_view module, name;
  Kind kind;
  std::string_view dtype;
};

constexpr std::array<Global, 5> kGlobals = {{{"collections", "OrderedDict", Kind::make_dictionary, ""},
                                             {"torch._utils", "_rebuild_tensor_v2", Kind::make_tensor, ""},
                                             {"torch", "FloatStorage", Kind::storage_type, "F32"},
                                             {"torch", "BFloat16Storage", Kind::storage_type, "BF16"},
                                             {"torch", "HalfStorage", Kind::storage_type, "F16"}}};

class Machine {
 public:
  Machine(std::string_view pickle, const std::string& path) : left_(pickle), size_(pickle.size()), path_(path) {}

  std::vector<PickledTensor> run() {
    while (!stopped_)
      step();
    if (!left_.empty()) refuse("has bytes behind its end");
    if (stack_.size() != 1 || !marks_.empty()) refuse("leaves other than one value");
    return tensors_of(values_[stack_[0]]);
  }

 private:
  [[noreturn]] void refuse(const std::string& text) const {
    throw DataError(path_, 0, fmt::format("its pickle {} (byte {}); keel reads a plain dictionary of tensors", text, size_ - left_.size()));
  }

  // Reading

  std::string_view take(uint64_t count) {
    if (count > left_.size()) refuse("is cut");
    const std::string_view taken = left_.substr(0, count);
    left_.remove_prefix(count);
    return taken;
  }

  uint64_t take_number(size_t bytes) {
    uint64_t value = 0;
    const std::string_view taken = take(bytes);
    for (size_t i = 0; i < bytes; ++i)
      value |= uint64_t{static_cast<unsigned char>(taken[i])} << (8 * i);
    return value;
  }

  std::string_view take_line() {
    const size_t end = left_.find('\n');
    if (end == std::string_view::npos) refuse("is cut");
    const std::string_view line = take(end);
    take(1);
    return line;
  }

  // A little-endian integer in two's complement of any length; those of tensors have at most 8 bytes.
  int64_t take_long() {
    const uint64_t bytes = take_number(1);
    if (bytes > 8) refuse(fmt::format("holds an integer of {} bytes", bytes));
    uint64_t value = take_number(bytes);
    if (bytes > 0 && bytes < 8 && (value >> (8 * bytes - 1)) != 0) value |= ~uint64_t{0} << (8 * bytes);
    return static_cast<int64_t>(value);
  }

  // The stack

  void push(Value value) {
    values_.push_back(std::move(value));
    stack_.push_back(static_cast<Index>(values_.size() - 1));
  }

  // Values above the last mark may be taken, those below belong to what is not built yet.
  size_t lowest() const { return marks_.empty() ? 0 : marks_.back(); }

  Index pop() {
    if (stack_.size() <= lowest()) refuse("takes a value that is not there");
    const Index index = stack_.back();
    stack_.pop_back();
    return index;
  }

  std::vector<Index> pop_to_mark() {
    if (marks_.empty()) refuse("takes values up to a mark that is not there");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Index> taken(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return taken;
  }

  Value& top(Kind kind, const char* what) {
    if (stack_.size() <= lowest()) refuse("takes a value that is not there");
    Value& value = values_[stack_.back()];
    if (value.kind != kind) refuse(fmt::format("needs {} in this place", what));
    return value;
  }

  void push_tuple(size_t count) {
    Value tuple{.kind = Kind::tuple, .text = {}, .parts = std::vector<Index>(count)};
    for (size_t i = count; i-- > 0;)
      tuple.parts[i] = pop();
    push(std::move(tuple));
  }

  void put(uint64_t slot) {
    if (stack_.size() <= lowest()) refuse("remembers a value that is not there");
    memo_[slot] = stack_.back();
  }

  void get(uint64_t slot) {
    const auto found = memo_.find(slot);
    if (found == memo_.end()) refuse(fmt::format("recalls value {}, which it has not remembered", slot));
    stack_.push_back(found->second);
  }

  void extend(const std::vector<Index>& parts, Kind kind, const char* what) {
    std::vector<Index>& own = top(kind, what).parts;
    if (kind == Kind::dictionary && parts.size() % 2 != 0) refuse("gives a dictionary a key without a value");
    own.insert(own.end(), parts.begin(), parts.end());
  }

  // Globals, storages, tensors

  void push_global() {
    const std::string_view module = take_line(), name = take_line();
    for (const Global& known : kGlobals)
      if (known.module == module && known.name == name) {
        push({.kind = known.kind, .text = known.dtype, .parts = {}});
        return;
      }
    refuse(fmt::format("asks for {}.{}, which keel neither knows nor runs", printable(module), printable(name)));
  }

  const Value& part(const Value& value, size_t i, Kind kind, const char* what) const {
    const Value& found = values_[value.parts[i]];
    if (found.kind != kind) refuse(fmt::format("has a tensor whose {} is of another kind", what));
    return found;
  }

  // ("storage", type, key, device, size) -> a storage
  void push_storage() {
    const Value& name = values_[pop()];
    if (name.kind != Kind::tuple || name.parts.size() != 5) refuse("names an outside object that is no storage");
    if (part(name, 0, Kind::text, "kind of storage").text != "storage") refuse("names an outside object that is no storage");
    part(name, 1, Kind::storage_type, "type of storage");
    part(name, 2, Kind::text, "storage");
    part(name, 4, Kind::integer, "size of storage");
    push({.kind = Kind::storage, .text = {}, .parts = {name.parts[1], name.parts[2], name.parts[4]}});
  }

  // Only two globals can be called: an empty OrderedDict, and a tensor, whose arguments are kept. A seventh argument, which says that the
  // numbers are to be negated or conjugated, is not taken.
  void reduce() {
    const Value& arguments = values_[pop()];
    const Value& callee = values_[pop()];
    if (arguments.kind != Kind::tuple) refuse("calls something without a tuple of arguments");
    if (callee.kind == Kind::make_dictionary && arguments.parts.empty()) {
      push({.kind = Kind::dictionary, .text = {}, .parts = {}});
    } else if (callee.kind == Kind::make_tensor && arguments.parts.size() == 6) {
      push({.kind = Kind::tensor, .text = {}, .parts = arguments.parts});
    } else {
      refuse("calls what is no tensor and no empty dictionary");
    }
  }

  // What a module adds to its OrderedDict of tensors: the versions of its parts.
  void build() {
    const Value& state = values_[pop()];
    top(Kind::dictionary, "a dictionary");
    const bool versions = state.kind == Kind::dictionary && state.parts.size() == 2 && values_[state.parts[0]].kind == Kind::text &&
                          values_[state.parts[0]].text == "_metadata";
    if (!versions) refuse("sets an attribute other than _metadata");
  }

  std::vector<int64_t> sizes(const Value& tuple) const {
    constexpr size_t kMostSizes = 8;
    if (tuple.parts.size() > kMostSizes) refuse(fmt::format("has a tensor of {} dimensions", tuple.parts.size()));
    std::vector<int64_t> list;
    for (size_t i = 0; i < tuple.parts.size(); ++i)
      list.push_back(part(tuple, i, Kind::integer, "size").integer);
    return list;
  }

  std::vector<PickledTensor> tensors_of(const Value& dictionary) const {
    if (dictionary.kind != Kind::dictionary) refuse("holds something else than a dictionary");
    std::vector<PickledTensor> tensors;
    std::unordered_set<std::string_view> names;
    for (size_t i = 0; i < dictionary.parts.size(); i += 2) {
      const Value &key = values_[dictionary.parts[i]], &value = values_[dictionary.parts[i + 1]];
      if (key.kind != Kind::text) refuse("has a key that is no text");
      if (!names.insert(key.text).second) refuse(fmt::format("has the key '{}' twice", printable(key.text)));
      if (value.kind != Kind::tensor) refuse(fmt::format("has under '{}' something else than a tensor", printable(key.text)));
      const Value& storage = part(value, 0, Kind::storage, "storage");
      tensors.push_back({.name = key.text,
                         .dtype = values_[storage.parts[0]].text,
                         .storage = values_[storage.parts[1]].text,
                         .storage_items = values_[storage.parts[2]].integer,
                         .offset = part(value, 1, Kind::integer, "offset").integer,
                         .shape = sizes(part(value, 2, Kind::tuple, "shape")),
                         .strides = sizes(part(value, 3, Kind::tuple, "strides"))});
    }
    return tensors;
  }

  void step() {
    const auto code = static_cast<unsigned char>(take(1)[0]);
    switch (code) {
      case 0x80:  // PROTO
        if (const uint64_t protocol = take_number(1); protocol != 2)
          refuse(fmt::format("is of protocol {}, torch.save writes 2", protocol));
        break;
      case '.':
        stopped_ = true;
        break;
      case '(':
        marks_.push_back(stack_.size());
        break;
      case 'N':
        push({});
        break;
      case 0x88:
        push({.kind = Kind::boolean, .integer = 1, .text = {}, .parts = {}});
        break;
      case 0x89:
        push({.kind = Kind::boolean, .text = {}, .parts = {}});
        break;
      case 'J':
        push_integer(static_cast<int32_t>(take_number(4)));
        break;
      case 'K':
        push_integer(static_cast<int64_t>(take_number(1)));
        break;
      case 'M':
        push_integer(static_cast<int64_t>(take_number(2)));
        break;
      case 0x8a:
        push_integer(take_long());
        break;
      case 'X':
        push({.kind = Kind::text, .text = take(take_number(4)), .parts = {}});
        break;
      case ')':
        push_tuple(0);
        break;
      case 0x85:
        push_tuple(1);
        break;
      case 0x86:
        push_tuple(2);
        break;
      case 0x87:
        push_tuple(3);
        break;
      case 't': {
        std::vector<Index> parts = pop_to_mark();
        push({.kind = Kind::tuple, .text = {}, .parts = std::move(parts)});
        break;
      }
      case '}':
        push({.kind = Kind::dictionary, .text = {}, .parts = {}});
        break;
      case 's': {
        const Index value = pop(), key = pop();
        extend({key, value}, Kind::dictionary, "a dictionary");
        break;
      }
      case 'u':
        extend(pop_to_mark(), Kind::dictionary, "a dictionary");
        break;
      case ']':
        push({.kind = Kind::list, .text = {}, .parts = {}});
        break;
      case 'a':
        extend({pop()}, Kind::list, "a list");
        break;
      case 'e':
        extend(pop_to_mark(), Kind::list, "a list");
        break;
      case 'q':
        put(take_number(1));
        break;
      case 'r':
        put(take_number(4));
        break;
      case 'h':
        get(take_number(1));
        break;
      case 'j':
        get(take_number(4));
        break;
      case 'c':
        push_global();
        break;
      case 'Q':
        push_storage();
        break;
      case 'R':
        reduce();
        break;
      case 'b':
        build();
        break;
      default:
        refuse(fmt::format("has instruction 0x{:02x}, which keel does not carry out", code));
    }
  }

  void push_integer(int64_t value) { push({.kind = Kind::integer, .integer = value, .text = {}, .parts = {}}); }

  std::string_view left_;
  size_t size_;
  const std::string& path_;
  std::vector<Value> values_;
  std::vector<Index> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, Index> memo_;
  bool stopped_ = false;
};

}  // namespace

std::vector<PickledTensor> read_torch_pickle(std::string_view pickle, const std::string& path) {
  return Machine(pickle, path).run();
}

}  // namespace keel::core
