// TLS of outgoing requests: whom a connection trusts, which host it expects, and what is wrong with a certificate.
#pragma once

#include <memory>
#include <string>

// OpenSSL's SSL and SSL_CTX.
struct ssl_st;
struct ssl_ctx_st;

namespace keel::http {

// A client's context (TLS 1.2 or later) that trusts the system's certificate authorities, as OpenSSL finds them: SSL_CERT_FILE, one PEM
// file, in place of the system's own file, and SSL_CERT_DIR in place of the system's folder. Made once for each pair of values; threads may
// share it. UsageError where SSL_CERT_FILE names a file without certificates, which OpenSSL would pass over in silence.
std::shared_ptr<ssl_ctx_st> trusting_context();

// Asks for `host` (SNI) and accepts a certificate for this name or IPv4 address alone. Before the handshake.
void expect_host(ssl_st* connection, const std::string& host);

// After a failed handshake: why the server's certificate was refused, and the remedy; "" where it was not the certificate.
std::string certificate_problem(ssl_st* connection, const std::string& host);

// Whether OpenSSL's error code `value` says that what the server sent is no TLS at all.
bool is_no_tls(unsigned long value);

}  // namespace keel::http
