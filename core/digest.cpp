// SHA-256 (FIPS 180-4) through OpenSSL.
#include <fmt/format.h>
#include <openssl/evp.h>

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <vector>

#include "core/error.h"
#include "core/files.h"
#include "core/system_error.h"

namespace keel::core {
namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    check(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  }

  void update(const void* bytes, size_t size) { check(EVP_DigestUpdate(context_.get(), bytes, size) == 1); }

  std::string hexadecimal() {
    unsigned char digest[32];
    check(EVP_DigestFinal_ex(context_.get(), digest, nullptr) == 1);
    std::string text;
    for (const unsigned char byte : digest) {
      text += "0123456789abcdef"[byte >> 4];
      text += "0123456789abcdef"[byte & 15];
    }
    return text;
  }

 private:
  static void check(bool done) {
    if (!done) throw std::runtime_error("[sha256] OpenSSL refused to compute a digest");
  }

  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string sha256(std::string_view bytes) {
  Sha256 digest;
  digest.update(bytes.data(), bytes.size());
  return digest.hexadecimal();
}

std::string sha256_file(const std::filesystem::path& path) {
  std::error_code ignored;  // an inaccessible path fails below, with its reason
  const std::filesystem::file_status status = std::filesystem::status(path, ignored);
  if (exists(status) && !is_regular_file(status))
    throw UsageError(fmt::format("{} is {}, where keel needs a file, which it reads more than once", path.string(),
                                 is_directory(status) ? "a folder" : "a pipe or a device"));
  ReadDescriptor file(path);
  Sha256 digest;
  std::vector<char> chunk(size_t{1} << 20);
  while (const size_t count = file.read(chunk.data(), chunk.size()))
    digest.update(chunk.data(), count);
  return digest.hexadecimal();
}

}  // namespace keel::core
