#include "serve/keys.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <sstream>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "data/text.h"

namespace keel::serve {
namespace {

constexpr size_t kShortest = 16;

bool starts_with_word(const std::string& text, const std::string& word) {
  return text.size() > word.size() && text[word.size()] == ' ' &&
         std::equal(word.begin(), word.end(), text.begin(), [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b + 32 : b); });
}

// The password of "Basic BASE64(user:password)"; "" for anything else.
std::string basic_password(const std::string& encoded) {
  if (encoded.empty() || encoded.size() % 4 != 0 || encoded.size() > 4096) return {};
  std::string decoded(encoded.size() / 4 * 3, '\0');
  const int bytes = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(decoded.data()),
                                    reinterpret_cast<const unsigned char*>(encoded.data()), static_cast<int>(encoded.size()));
  if (bytes < 0) return {};
  const auto padding = encoded.ends_with("==") ? 2 : encoded.ends_with('=') ? 1 : 0;
  decoded.resize(static_cast<size_t>(bytes - padding));
  const size_t colon = decoded.find(':');
  return colon == std::string::npos ? std::string() : decoded.substr(colon + 1);
}

// The key of an Authorization header; "" where it gives none.
std::string authorized_key(const std::string& given) {
  if (starts_with_word(given, "bearer")) return std::string(data::strip(given.substr(7)));
  if (starts_with_word(given, "basic")) return basic_password(std::string(data::strip(given.substr(6))));
  return {};
}

}  // namespace

Keys::Keys(const std::filesystem::path& file) {
  std::istringstream lines(core::read_file(file));
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const std::string key(data::strip(line));
    if (key.empty() || key.starts_with('#')) continue;
    if (key.size() < kShortest || std::ranges::any_of(key, [](char c) { return c <= ' ' || c > '~'; }))
      throw core::UsageError(
          fmt::format("{}:{}: a key needs at least {} printable ASCII characters without blanks", file.string(), number, kShortest));
    digests_.push_back(core::sha256(key));
  }
  std::error_code failed;
  const auto mode = std::filesystem::status(file, failed).permissions();
  if (!failed && (mode & std::filesystem::perms::others_read) != std::filesystem::perms::none)
    core::log_warn(fmt::format("{} can be read by every user of this machine: chmod o-r", file.string()));
  if (digests_.empty()) throw core::UsageError(fmt::format("{} holds no key", file.string()));
}

bool Keys::admit(const http::Request& request) const {
  if (digests_.empty()) return true;
  bool known = false;
  for (const auto& given : {request.api_key, authorized_key(request.authorization)}) {
    const std::string digest = core::sha256(given);
    for (const auto& one : digests_)
      known = CRYPTO_memcmp(one.data(), digest.data(), digest.size()) == 0 || known;
  }
  return known;
}

}  // namespace keel::serve
