// https: whom keel's requests trust, and what they say of a server that they do not.
#include <chrono>
#include <optional>

#include "core/error.h"
#include "core/interrupt.h"
#include "http/client.h"
#include "http/load.h"
#include "http/tls_server.h"

namespace keel::http {
namespace {

using Catch::Matchers::ContainsSubstring;
using test::Certificate;
using test::Environment;
using test::SocketServer;
using test::tls_answer;

std::string said_to(const SocketServer& server, const std::string& host, int64_t seconds = 5) {
  return get(parse_url(server.at(host) + "/x"), {}, seconds).body;
}

std::string ok(const std::string&) {
  return test::http_reply(200, "here");
}

}  // namespace

TEST_CASE("https: a server whose certificate a trusted authority signed is asked for by its name; any other is refused", "[http]") {
  const test::TemporaryFolder folder;
  const Certificate ours("DNS:localhost,IP:127.0.0.1"), other("DNS:localhost");
  ours.write(folder / "ours.pem");
  other.write(folder / "other.pem");
  std::string name, request;
  const SocketServer server(tls_answer(
      ours,
      [&](const std::string& text) {
        request = text;
        return ok(text);
      },
      &name));
  {
    const Environment trusted("SSL_CERT_FILE", folder / "ours.pem");
    CHECK(said_to(server, "localhost") == "here");
    CHECK(name == "localhost");
    CHECK_THAT(request, ContainsSubstring("GET /x HTTP/1.1\r\nHost: localhost:"));
    CHECK(said_to(server, "127.0.0.1") == "here");
    CHECK(name.empty());  // an address is no name
    const Answer answer = post(parse_url(server.at("localhost")), "{}", {{"Authorization", "Bearer k"}}, 5);
    CHECK((answer.status == 200 && answer.body == "here"));
    CHECK_THAT(request, ContainsSubstring("POST / ") && ContainsSubstring("Authorization: Bearer k\r\n"));
  }
  request.clear();
  const auto refused = [&] {
    CHECK_THROWS_MATCHES(
        said_to(server, "localhost"), core::UsageError,
        Catch::Matchers::MessageMatches(ContainsSubstring(server.at("localhost") + "/x: nobody whom this machine trusts") &&
                                        ContainsSubstring("SSL_CERT_FILE")));
  };
  refused();  // by the system's authorities
  {
    const Environment trusted("SSL_CERT_FILE", folder / "other.pem");  // the same names by another key
    refused();
  }
  CHECK(request.empty());  // nothing was sent, no key either
  const Environment missing("SSL_CERT_FILE", folder / "none.pem");
  CHECK_THROWS_WITH(said_to(server, "localhost"), ContainsSubstring("SSL_CERT_FILE is \"") && ContainsSubstring("none.pem"));
}

TEST_CASE("https: a trusted certificate for another host, and one out of its time, are refused by name", "[http]") {
  const auto complaint = [](const Certificate& certificate, const std::string& host) -> std::string {
    const test::TemporaryFolder own;  // a file is read once
    certificate.write(own / "trusted.pem");
    const Environment trusted("SSL_CERT_FILE", own / "trusted.pem");
    const SocketServer server(tls_answer(certificate, ok));
    try {
      return said_to(server, host);
    } catch (const core::UsageError& error) {
      return error.what();
    }
  };
  CHECK(complaint(Certificate("DNS:localhost"), "localhost") == "here");
  CHECK_THAT(complaint(Certificate("DNS:judge.example"), "localhost"), ContainsSubstring("its certificate is not for \"localhost\""));
  CHECK_THAT(complaint(Certificate("DNS:localhost"), "127.0.0.1"), ContainsSubstring("its certificate is not for \"127.0.0.1\""));
  CHECK_THAT(complaint(Certificate("IP:127.0.0.2"), "127.0.0.1"), ContainsSubstring("its certificate is not for \"127.0.0.1\""));
  CHECK_THAT(complaint(Certificate("DNS:localhost", -7200, -3600), "localhost"), ContainsSubstring("its certificate has expired"));
  CHECK_THAT(complaint(Certificate("DNS:localhost", 3600, 7200), "localhost"), ContainsSubstring("not valid yet"));
}

TEST_CASE("https: a server that hangs up in the handshake may be asked again, one without TLS may not", "[http]") {
  const SocketServer closing([](int) {});
  CHECK_THROWS_MATCHES(said_to(closing, "localhost"), core::IoError,
                       Catch::Matchers::MessageMatches(ContainsSubstring("during the TLS handshake")));
  const SocketServer plain([](int connection) {
    char buffer[4096];
    [[maybe_unused]] const ssize_t got = ::read(connection, buffer, sizeof buffer);
    const std::string reply = test::http_reply(400, "what?");
    [[maybe_unused]] const ssize_t sent = ::write(connection, reply.data(), reply.size());
  });
  CHECK_THROWS_MATCHES(
      said_to(plain, "localhost"), core::UsageError,
      Catch::Matchers::MessageMatches(ContainsSubstring("does not speak TLS on this port; give its address with http://")));
}

TEST_CASE("https: the deadline and a stop hold in the handshake, and after it", "[http]") {
  const test::TemporaryFolder folder;
  const Certificate certificate("DNS:localhost");
  certificate.write(folder / "trusted.pem");
  const Environment trusted("SSL_CERT_FILE", folder / "trusted.pem");
  const SocketServer mute([](int connection) {
    char buffer[4096];
    while (::read(connection, buffer, sizeof buffer) > 0)
      continue;
  });
  const SocketServer silent(tls_answer(certificate, [](const std::string&) { return std::string(); }));
  for (const SocketServer* server : {&mute, &silent}) {
    const auto begin = std::chrono::steady_clock::now();
    CHECK_THROWS_AS(said_to(*server, "localhost", 1), core::IoError);
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(4));
    core::request_interrupt();
    CHECK_THROWS_AS(said_to(*server, "localhost", 86400), core::Interrupted);
    core::clear_interrupt();
  }
}

TEST_CASE("https: an answer that is cut off before its end is no answer", "[http]") {
  const test::TemporaryFolder folder;
  const Certificate certificate("DNS:localhost");
  certificate.write(folder / "trusted.pem");
  const Environment trusted("SSL_CERT_FILE", folder / "trusted.pem");
  const SocketServer server(
      tls_answer(certificate, [](const std::string&) { return std::string("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"); }));
  CHECK_THROWS_AS(said_to(server, "localhost"), core::IoError);
}

TEST_CASE("https: addresses have port 443 where none is given; load is offered over plain http alone", "[http]") {
  const Url url = parse_url("https://judge.example/v1/");
  CHECK((url.tls && url.host == "judge.example" && url.port == "443" && url.path == "/v1"));
  CHECK(text_of(url) == "https://judge.example:443/v1");
  CHECK_THAT(request_text("GET", url, "", {}), ContainsSubstring("Host: judge.example\r\n"));
  CHECK_THAT(request_text("GET", parse_url("https://a:80"), "", {}), ContainsSubstring("Host: a:80\r\n"));
  CHECK((parse_url("https://a:8443").port == "8443" && !parse_url("http://a").tls));
  CHECK_THROWS_WITH(parse_url("ftp://a"), ContainsSubstring("must begin with http:// or https://"));
  CHECK_THROWS_AS(parse_url("https://me:word@a"), core::UsageError);
  CHECK_THROWS_WITH(run_load({.url = url, .headers = {}, .bodies = {"{}"}, .moments = {}}), ContainsSubstring("plain http:// alone"));
}

}  // namespace keel::http
