#include "http/tls.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>

#include "core/error.h"

namespace keel::http {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_ipv4(const std::string& host) {
  in_addr address{};
  return inet_pton(AF_INET, host.c_str(), &address) == 1;
}

std::shared_ptr<SSL_CTX> make_context(const std::string& file) {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  if (!context) throw core::IoError("OpenSSL cannot make a TLS context");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (file.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else {
    if (SSL_CTX_load_verify_file(context.get(), file.c_str()) != 1)
      throw core::UsageError(
          fmt::format("SSL_CERT_FILE is \"{}\", which holds no certificate that can be read: name a PEM file, or unset it", file));
    SSL_CTX_set_default_verify_dir(context.get());
  }
  ERR_clear_error();  // the system may have no such file or folder
  return context;
}

}  // namespace

std::shared_ptr<SSL_CTX> trusting_context() {
  static std::mutex lock;
  static std::map<std::pair<std::string, std::string>, std::shared_ptr<SSL_CTX>> made;  // the system's file may hold 150 certificates
  const std::pair trusted{environment("SSL_CERT_FILE"), environment("SSL_CERT_DIR")};
  const std::lock_guard guard(lock);
  const auto known = made.find(trusted);
  return known != made.end() ? known->second : made.emplace(trusted, make_context(trusted.first)).first->second;
}

void expect_host(SSL* connection, const std::string& host) {
  if (is_ipv4(host)) {  // no name, so that SNI has none either
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(connection), host.c_str());
    return;
  }
  SSL_set_hostflags(connection, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (SSL_set1_host(connection, host.c_str()) != 1 || SSL_set_tlsext_host_name(connection, host.c_str()) != 1)
    throw core::UsageError(fmt::format("\"{}\" cannot be the name of a TLS server", host));
}

std::string certificate_problem(SSL* connection, const std::string& host) {
  switch (const long result = SSL_get_verify_result(connection)) {
    case X509_V_OK:
      return "";
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return fmt::format("its certificate is not for \"{}\": give the name for which the certificate was made", host);
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return "its certificate has expired: whoever runs the server must renew it (or this machine's clock is wrong)";
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return "its certificate is not valid yet: set this machine's clock";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_UNTRUSTED: {
      const std::string file = environment("SSL_CERT_FILE");
      return fmt::format(
          "nobody whom this machine trusts signed its certificate ({}): name the certificate of your own authority in SSL_CERT_FILE (a PEM "
          "file; now {}), or install the system's package ca-certificates",
          X509_verify_cert_error_string(result), file.empty() ? "not set" : "\"" + file + "\"");
    }
    default:
      return fmt::format("its certificate is refused: {}", X509_verify_cert_error_string(result));
  }
}

bool is_no_tls(unsigned long value) {
  const int reason = ERR_GET_REASON(value);
  return reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST || reason == SSL_R_PACKET_LENGTH_TOO_LONG;
}

}  // namespace keel::http
