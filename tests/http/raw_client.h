// A client that sends bytes as they are, for requests that no well-behaved client sends.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <string>

#include "support/test_plain.h"

namespace keel::test {

class RawClient {
 public:
  // `address`: "http://127.0.0.1:PORT" or "unix:PATH".
  explicit RawClient(const std::string& address) {
    if (address.starts_with("unix:")) {
      socket_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
      sockaddr_un where{};
      where.sun_family = AF_UNIX;
      const std::string path = address.substr(5);
      path.copy(where.sun_path, sizeof where.sun_path - 1);
      join(reinterpret_cast<sockaddr*>(&where), sizeof where);
      return;
    }
    socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in where{};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    where.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    join(reinterpret_cast<sockaddr*>(&where), sizeof where);
  }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  ~RawClient() { close(); }

  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

  // False where the server has closed the connection.
  bool send(const std::string& bytes) const {
    size_t sent = 0;
    while (sent < bytes.size()) {
      const auto more = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (more <= 0) return false;
      sent += static_cast<size_t>(more);
    }
    return true;
  }

  // What arrives until the connection ends, or `seconds` pass without a byte.
  std::string rest(double seconds = 5) const {
    std::string text;
    for (char buffer[4096]; wait(seconds);) {
      const auto got = ::recv(socket_, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      text.append(buffer, static_cast<size_t>(got));
    }
    return text;
  }

  // One reply: its head and as many bytes as it announces.
  std::string reply() const {
    std::string text;
    for (char byte = 0; wait(5) && ::recv(socket_, &byte, 1, 0) == 1;) {
      text += byte;
      const size_t head = text.find("\r\n\r\n");
      if (head == std::string::npos) continue;
      const size_t length = text.find("Content-Length: ");
      if (length == std::string::npos || text.size() == head + 4 + std::stoul(text.substr(length + 16))) break;
    }
    return text;
  }

 private:
  // No assertion of Catch2: those are for one thread, and clients run in several.
  void join(const sockaddr* where, socklen_t size) const {
    if (::connect(socket_, where, size) != 0) throw std::runtime_error("the server cannot be reached");
  }

  bool wait(double seconds) const {
    pollfd ready{.fd = socket_, .events = POLLIN, .revents = 0};
    return ::poll(&ready, 1, static_cast<int>(seconds * 1000)) == 1;
  }

  int socket_ = -1;
};

inline std::string post(const std::string& path, const std::string& body, const std::string& headers = {}) {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + headers +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

inline std::string get(const std::string& path, const std::string& headers = {}) {
  return "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n";
}

inline int status_of(const std::string& reply) {
  return reply.starts_with("HTTP/1.") ? std::stoi(reply.substr(9, 3)) : 0;
}

inline std::string body_of(const std::string& reply) {
  const size_t head = reply.find("\r\n\r\n");
  return head == std::string::npos ? std::string() : reply.substr(head + 4);
}

}  // namespace keel::test
