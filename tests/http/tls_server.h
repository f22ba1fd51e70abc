// A TLS server inside a test, with a certificate that the test makes.
#pragma once

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>

#include "http/answering_server.h"

namespace keel::test {

// A key and a certificate that it signs itself, for `names` as OpenSSL writes them ("DNS:localhost", "IP:127.0.0.1"), valid from `from` to
// `until`, in seconds from now.
class Certificate {
 public:
  explicit Certificate(const std::string& names, long from = -60, long until = 3600) : key_(EVP_EC_gen("P-256")), made_(X509_new()) {
    X509_set_version(made_, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made_), 1);
    X509_gmtime_adj(X509_getm_notBefore(made_), from);
    X509_gmtime_adj(X509_getm_notAfter(made_), until);
    X509_NAME* subject = X509_get_subject_name(made_);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("a test"), -1, -1, 0);
    X509_set_issuer_name(made_, subject);
    X509_set_pubkey(made_, key_);
    X509_EXTENSION* alternatives = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str());
    X509_add_ext(made_, alternatives, -1);
    X509_EXTENSION_free(alternatives);
    REQUIRE(X509_sign(made_, key_, EVP_sha256()) > 0);
  }
  Certificate(const Certificate&) = delete;
  Certificate& operator=(const Certificate&) = delete;
  ~Certificate() {
    X509_free(made_);
    EVP_PKEY_free(key_);
  }
  void write(const std::filesystem::path& file) const {
    std::FILE* stream = std::fopen(file.c_str(), "w");
    REQUIRE(stream != nullptr);
    PEM_write_X509(stream, made_);
    std::fclose(stream);
  }
  EVP_PKEY* key() const { return key_; }
  X509* x509() const { return made_; }

 private:
  EVP_PKEY* key_;
  X509* made_;
};

// Takes one connection after the other on a free port and gives each to `serve`.
class SocketServer {
 public:
  explicit SocketServer(std::function<void(int)> serve) : serve_(std::move(serve)) {
    std::tie(listener_, port_) = listen_on_free_port();
    thread_ = std::thread([this] {
      for (int connection; (connection = ::accept(listener_, nullptr, nullptr)) >= 0;) {
        ++connections_;
        serve_(connection);
        ::close(connection);
      }
    });
  }
  ~SocketServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  std::string at(const std::string& host) const { return "https://" + host + ":" + std::to_string(port_); }
  int connections() const { return connections_; }

 private:
  std::function<void(int)> serve_;
  int listener_ = -1, port_ = 0;
  std::atomic<int> connections_{0};
  std::thread thread_;
};

// Reads one request of a connection over TLS and writes answer(request); "" keeps silent until the client goes. `server_name` gets what the
// client asked for in SNI.
inline std::function<void(int)> tls_answer(const Certificate& certificate, std::function<std::string(const std::string&)> answer,
                                           std::string* server_name = nullptr) {
  std::signal(SIGPIPE, SIG_IGN);  // OpenSSL's own sockets do not; a client that refuses the certificate hangs up
  const std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  SSL_CTX_use_certificate(context.get(), certificate.x509());
  SSL_CTX_use_PrivateKey(context.get(), certificate.key());
  return [=](int connection) {
    const std::unique_ptr<SSL, void (*)(SSL*)> tls(SSL_new(context.get()), SSL_free);
    SSL_set_fd(tls.get(), connection);
    if (SSL_accept(tls.get()) != 1) return;
    const char* name = SSL_get_servername(tls.get(), TLSEXT_NAMETYPE_host_name);
    if (server_name != nullptr) *server_name = name == nullptr ? "" : name;
    std::string request;
    char buffer[4096];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const int got = SSL_read(tls.get(), buffer, sizeof buffer);
      if (got <= 0) return;
      request.append(buffer, static_cast<size_t>(got));
    }
    const std::string reply = answer(request);
    if (reply.empty()) {
      SSL_read(tls.get(), buffer, sizeof buffer);
      return;
    }
    SSL_write(tls.get(), reply.data(), static_cast<int>(reply.size()));
    SSL_shutdown(tls.get());
  };
}

// Sets an environment variable for a while.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name); before != nullptr) before_ = before;
    ::setenv(name, value.c_str(), 1);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

}  // namespace keel::test
