#include "core/torch_file.h"

#include "core/error.h"
#include "support/test_plain.h"
#include "support/torch_builder.h"

namespace keel::test::torch_save {
namespace {

using Catch::Matchers::ContainsSubstring;
using core::DataError;
using core::TorchFile;

std::string floats(const std::vector<float>& values) {
  std::string bytes;
  for (const float value : values)
    bytes += raw(value);
  return bytes;
}

// Reads the bytes as a file; the error, which names the file, or "".
std::string complaint(const std::string& bytes) {
  const TemporaryFolder folder;
  write_text(folder / "m.pth", bytes);
  try {
    const TorchFile file(folder / "m.pth");
    for (const auto& tensor : file.tensors())
      static_cast<void>(file.bytes(tensor).size());
    return "";
  } catch (const DataError& error) {
    CHECK_THAT(error.what(), ContainsSubstring("m.pth"));
    return error.what();
  }
}

const std::vector<Entry> kSixFloats = {{.name = "0", .data = floats({0, 1, 2, 3, 4, 5})}};
const Described kMatrix = {.items = 6, .shape = {2, 3}, .strides = {3, 1}};

std::string one_tensor(const Described& described) {
  return file(pickle(dictionary({{"w", tensor(described)}})), kSixFloats);
}

std::string with_pickle(const std::string& value) {
  return file(pickle(value), kSixFloats);
}

}  // namespace

TEST_CASE("torch file: names, types, shapes, strides and bytes of every tensor, in order", "[core]") {
  const bool large = GENERATE(true, false);
  const std::string matrix = tensor(kMatrix);
  const std::string column = tensor({.items = 6, .offset = 1, .shape = {2}, .strides = {3}});
  const std::string half = tensor({.type = "BFloat16Storage", .key = "1", .items = 2, .shape = {2, 1}, .strides = {1, 1}});
  const std::string other = tensor({.type = "HalfStorage", .key = "2", .items = 0, .shape = {0, 4}, .strides = {4, 1}});
  const std::string number = tensor({.items = 6, .offset = 5, .shape = {}, .strides = {}});
  // What a module's state_dict has: attributes of the dictionary, remembered and recalled values.
  const std::string versions = kEmptyOrdered + "(" + text("") + "}" + text("version") + integer(1) + "su";
  const std::string value =
      dictionary({{"w", matrix + "q\x07"}, {"column", column}, {"half", half}, {"none", other}, {"one", number}, {"again", "h\x07"}}) +
      "}" + text("_metadata") + versions + "sb";
  std::vector<Entry> storages = kSixFloats;
  const std::string one_and_two("\x80\x3f\x00\x40", 4);  // 1 and 2 as bf16
  storages.push_back({.name = "1", .data = one_and_two});
  storages.push_back({.name = "2", .data = ""});
  const TemporaryFolder folder;
  write_text(folder / "m.pth", file(pickle(value), storages, large));
  const TorchFile read(folder / "m.pth");
  const auto& tensors = read.tensors();
  REQUIRE(tensors.size() == 6);
  CHECK(tensors[0].name == "w");
  CHECK(tensors[0].dtype == "F32");
  CHECK(tensors[0].shape == std::vector<int64_t>{2, 3});
  CHECK(tensors[0].strides == std::vector<int64_t>{3, 1});
  CHECK(read.bytes(tensors[0]) == floats({0, 1, 2, 3, 4, 5}));
  CHECK(tensors[1].name == "column");
  CHECK(tensors[1].strides == std::vector<int64_t>{3});
  CHECK(read.bytes(tensors[1]) == floats({1, 2, 3, 4}));
  CHECK(tensors[2].dtype == "BF16");
  CHECK(read.bytes(tensors[2]) == one_and_two);
  CHECK(tensors[3].dtype == "F16");
  CHECK(read.bytes(tensors[3]).empty());
  CHECK(read.bytes(tensors[4]) == floats({5}));
  CHECK(tensors[5].name == "again");
  CHECK(tensors[5].begin == tensors[0].begin);
}

TEST_CASE("torch file: a pickle that calls or imports anything else is refused by name, and nothing runs", "[core]") {
  const TemporaryFolder folder;
  const std::string touch = "touch " + (folder / "ran").string();
  CHECK_THAT(complaint(with_pickle(call(global("os", "system"), {text(touch)}))),
             ContainsSubstring("asks for os.system, which keel neither knows nor runs"));
  CHECK_THAT(complaint(with_pickle(dictionary({{"w", call(global("posix", "system"), {text(touch)})}}))),
             ContainsSubstring("posix.system"));
  CHECK_FALSE(std::filesystem::exists(folder / "ran"));
  for (const auto& [module, name] : std::vector<std::pair<std::string, std::string>>{
           {"builtins", "eval"}, {"torch._utils", "_rebuild_parameter"}, {"torch", "LongStorage"}, {"torch", "save"}, {"numpy", "ndarray"}})
    CHECK_THAT(complaint(with_pickle(global(module, name))), ContainsSubstring("asks for " + module + "." + name));
  CHECK_THAT(complaint(with_pickle(global("os\x1b[31m", "x\ny"))), ContainsSubstring("os?[31m.x"));
  // Instructions that make objects, extensions or other things of Python: INST, OBJ, NEWOBJ, STACK_GLOBAL, EXT1, PERSID, STRING, POP, DUP.
  for (const char* code :
       {"iposix\nsystem\n", "(o", "\x81", "\x93", "\x82\x01", "P1\n", "S'x'\n", "0", "2", "\x95", "\x94", "\x8c\x01x", "G12345678"})
    CHECK_THAT(complaint(with_pickle(std::string("N") + code)), ContainsSubstring("which keel does not carry out"));
  CHECK_THAT(complaint(file("\x80\x04N.", kSixFloats)), ContainsSubstring("is of protocol 4, torch.save writes 2"));
  // Known globals used in other ways.
  CHECK_THAT(complaint(with_pickle(call(global("torch", "FloatStorage"), {}))), ContainsSubstring("calls what is no tensor"));
  CHECK_THAT(complaint(with_pickle(call(global("collections", "OrderedDict"), {"]"}))), ContainsSubstring("calls what is no tensor"));
  CHECK_THAT(complaint(with_pickle(call(text("os"), {text("x")}))), ContainsSubstring("calls what is no tensor"));
  CHECK_THAT(complaint(with_pickle(global("collections", "OrderedDict") + "NR")), ContainsSubstring("without a tuple"));
  CHECK_THAT(complaint(with_pickle(kEmptyOrdered + "}" + text("__class__") + "Nsb")),
             ContainsSubstring("sets an attribute other than _metadata"));
  CHECK_THAT(complaint(with_pickle(tuple({text("storage"), text("x")}) + "Q")), ContainsSubstring("no storage"));
  const std::string negated = global("torch._utils", "_rebuild_tensor_v2") + tuple({"N", "N", "N", "N", "N", "N", "}"}) + "R";
  CHECK_THAT(complaint(with_pickle(negated)), ContainsSubstring("calls what is no tensor"));
}

TEST_CASE("torch file: anything but a dictionary of tensors is refused", "[core]") {
  CHECK_THAT(complaint(with_pickle("N")), ContainsSubstring("something else than a dictionary"));
  CHECK_THAT(complaint(with_pickle(tensor(kMatrix))), ContainsSubstring("something else than a dictionary"));
  CHECK_THAT(complaint(with_pickle(dictionary({{"step", integer(3)}}))),
             ContainsSubstring("has under 'step' something else than a tensor"));
  CHECK_THAT(complaint(with_pickle(dictionary({{"model", dictionary({})}}))), ContainsSubstring("under 'model'"));
  CHECK_THAT(complaint(with_pickle(dictionary({{"w", tensor(kMatrix)}, {"w", tensor(kMatrix)}}))), ContainsSubstring("the key 'w' twice"));
  CHECK_THAT(complaint(with_pickle("}" + integer(1) + tensor(kMatrix) + "s")), ContainsSubstring("a key that is no text"));
  CHECK_THAT(complaint(with_pickle("}(" + text("w") + "u")), ContainsSubstring("a key without a value"));
  const std::string callee = global("torch._utils", "_rebuild_tensor_v2");
  CHECK_THAT(complaint(with_pickle(dictionary({{"w", call(callee, {"N", integer(0), ")", ")", "\x89", "N"})}}))),
             ContainsSubstring("whose storage is of another kind"));
  CHECK(complaint(with_pickle(dictionary({}))).empty());
}

TEST_CASE("torch file: shapes, strides, offsets and storages that do not fit each other are refused", "[core]") {
  const auto changed = [](auto change) {
    Described described = kMatrix;
    change(described);
    return complaint(one_tensor(described));
  };
  CHECK(complaint(one_tensor(kMatrix)).empty());
  CHECK_THAT(changed([](auto& one) { one.shape = {2, 4}; }), ContainsSubstring("more elements than its storage"));
  CHECK_THAT(changed([](auto& one) {
               one.shape = {int64_t{1} << 40, int64_t{1} << 40};
             }),
             ContainsSubstring("more elements than any file"));
  CHECK_THAT(changed([](auto& one) {
               one.shape = {1 << 20, 1 << 20}, one.strides = {0, 0};
             }),
             ContainsSubstring("more elements than its storage"));
  CHECK_THAT(changed([](auto& one) { one.strides = {4, 1}; }), ContainsSubstring("reaches out of its storage"));
  CHECK_THAT(changed([](auto& one) { one.strides = {INT64_MAX, INT64_MAX}; }), ContainsSubstring("more elements than any file"));
  CHECK_THAT(changed([](auto& one) { one.offset = 1; }), ContainsSubstring("reaches out of its storage"));
  CHECK_THAT(changed([](auto& one) { one.offset = INT64_MAX; }), ContainsSubstring("reaches out of its storage"));
  for (const int64_t negative : {int64_t{-1}, int64_t{-300}, INT64_MIN}) {
    CHECK_THAT(changed([&](auto& one) { one.offset = negative; }), ContainsSubstring("negative offset"));
    CHECK_THAT(changed([&](auto& one) { one.shape[0] = negative; }), ContainsSubstring("negative size or stride"));
    CHECK_THAT(changed([&](auto& one) { one.strides[1] = negative; }), ContainsSubstring("negative size or stride"));
    CHECK_THAT(changed([&](auto& one) { one.items = negative; }), ContainsSubstring("the file is damaged"));
  }
  CHECK_THAT(changed([](auto& one) { one.strides = {1}; }), ContainsSubstring("one stride for each size"));
  CHECK_THAT(changed([](auto& one) { one.shape = std::vector<int64_t>(9, 1); }), ContainsSubstring("a tensor of 9 dimensions"));
  CHECK_THAT(changed([](auto& one) { one.key = "1"; }), ContainsSubstring("lies in data/1, which is not there"));
  CHECK_THAT(changed([](auto& one) { one.key = "../data.pkl"; }), ContainsSubstring("which is not there"));
  CHECK_THAT(changed([](auto& one) { one.items = 7; }), ContainsSubstring("data/0 has 24 bytes"));
  CHECK_THAT(changed([](auto& one) { one.type = "HalfStorage"; }), ContainsSubstring("data/0 has 24 bytes"));
  const std::string twice =
      dictionary({{"w", tensor(kMatrix)}, {"v", tensor({.type = "HalfStorage", .items = 12, .shape = {1}, .strides = {1}})}});
  CHECK_THAT(complaint(with_pickle(twice)), ContainsSubstring("tensor v needs it to hold 12 numbers of type F16"));
}

TEST_CASE("torch file: views of one storage may repeat it, but not multiply the file", "[core]") {
  const std::string numbers(4000, '\1');
  const auto repeated = [&](int times) {
    Items items;
    for (int i = 0; i < times; ++i)
      items.emplace_back("w" + std::to_string(i), tensor({.items = 1000, .shape = {1000}, .strides = {1}}));
    return complaint(file(pickle(dictionary(items)), {{.name = "0", .data = numbers}}));
  };
  CHECK(repeated(2).empty());
  CHECK_THAT(repeated(20), ContainsSubstring("more than twice its own bytes"));
}

TEST_CASE("torch file: a pickle that nests, repeats or forgets values costs no more than its bytes", "[core]") {
  std::string deep = ")";  // a tuple in a tuple in a tuple ...
  for (int i = 0; i < 1'000'000; ++i)
    deep += "\x85";
  CHECK_THAT(complaint(with_pickle(deep)), ContainsSubstring("something else than a dictionary"));
  std::string doubling = ")q" + std::string(1, '\0');  // each tuple holds the one before twice: 2^200 leaves
  for (int i = 0; i < 200; ++i)
    doubling += "h" + std::string(1, static_cast<char>(i)) + "h" + std::string(1, static_cast<char>(i)) + "\x86q" +
                std::string(1, static_cast<char>(i + 1));
  CHECK_THAT(complaint(with_pickle(doubling)), ContainsSubstring("leaves other than one value"));
  CHECK_THAT(complaint(with_pickle("}q\x01" + text("self") + "h\x01s")), ContainsSubstring("under 'self'"));
  CHECK_THAT(complaint(with_pickle(std::string(5 << 20, 'N'))), ContainsSubstring("data.pkl must have at most"));
  for (const char* value : {"h\x05", "t", "u", "q\x01", "R", "s", "Q", "(s", "N(R", "\x86", "}Ns", "", "e", "]", "b", "("})
    CHECK_FALSE(complaint(with_pickle(value)).empty());
  const std::string whole = pickle(dictionary({{"w", tensor(kMatrix)}}));
  for (size_t length = 0; length < whole.size(); ++length)
    CHECK_FALSE(complaint(file(whole.substr(0, length), kSixFloats)).empty());
  CHECK_THAT(complaint(file(whole + "N", kSixFloats)), ContainsSubstring("bytes behind its end"));
  CHECK_THAT(complaint(with_pickle("X\xff\xff\xff\xff")), ContainsSubstring("is cut"));
  CHECK_THAT(complaint(with_pickle("\x8a\xff")), ContainsSubstring("an integer of 255 bytes"));
}

TEST_CASE("torch file: archives that are cut, compressed, encrypted, doubled or foreign are refused", "[core]") {
  const std::string whole = one_tensor(kMatrix);
  for (size_t length = 0; length < whole.size(); length += length < 200 || length + 200 > whole.size() ? 1 : 37)
    CHECK_FALSE(complaint(whole.substr(0, length)).empty());
  CHECK_THAT(complaint(whole.substr(0, whole.size() / 2)), ContainsSubstring("no directory at its end"));
  const std::string pickled = pickle(dictionary({{"w", tensor(kMatrix)}}));
  const auto archive = [&](const Entry& storage, bool large = true) { return complaint(file(pickled, {storage}, large)); };
  const std::string six = kSixFloats[0].data;
  CHECK_THAT(archive({.name = "0", .data = six, .method = 8}), ContainsSubstring("entry 'archive/data/0' is compressed"));
  CHECK_THAT(archive({.name = "0", .data = six, .flags = 1}), ContainsSubstring("is encrypted"));
  CHECK_THAT(archive({.name = "0", .data = six, .claimed = 1 << 30}), ContainsSubstring("but the file has"));
  CHECK_THAT(archive({.name = "0", .data = six, .claimed = UINT64_MAX - 1}), ContainsSubstring("but the file has"));
  CHECK_THAT(archive({.name = "0", .data = six, .claimed = 1000}, false),
             ContainsSubstring("overlap") || ContainsSubstring("but the file has"));
  CHECK_THAT(complaint(file(pickled, {kSixFloats[0], kSixFloats[0]})), ContainsSubstring("stands twice"));
  CHECK_THAT(complaint(zip({{.name = "a/data.pkl", .data = pickled}, {.name = "b/data/0", .data = six}})),
             ContainsSubstring("stands outside of a/"));
  CHECK_THAT(complaint(zip({{.name = "a/other", .data = "x"}})), ContainsSubstring("without data.pkl"));
  CHECK_THAT(complaint(zip({{.name = "a/data.pkl", .data = pickled}, {.name = "a/constants.pkl", .data = "x"}})),
             ContainsSubstring("TorchScript"));
  CHECK_THAT(complaint(zip({{.name = "a/data.pkl", .data = pickled}, {.name = "a/byteorder", .data = "big"}})),
             ContainsSubstring("big-endian"));
  CHECK_THAT(complaint("\x80\x02\x8a\nl\xfc"), ContainsSubstring("from before PyTorch 1.6"));
  CHECK_THAT(complaint("version https://git-lfs.github.com/spec/v1"), ContainsSubstring("Git LFS pointer"));
  CHECK_THAT(complaint("something"), ContainsSubstring("is not what torch.save writes"));
  // Every bit of the small file turned: an error or a file, never a crash.
  const bool large = GENERATE(true, false);
  const std::string valid = file(pickled, kSixFloats, large);
  for (size_t at = 0; at < valid.size(); ++at)
    for (const int bit : {0, 3, 7}) {
      std::string damaged = valid;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      static_cast<void>(complaint(damaged));
    }
}

}  // namespace keel::test::torch_save
