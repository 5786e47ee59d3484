#include "cli/network_interface.hpp"

#include <array>
#include <cstring>
#include <memory>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace dormer::cli {
namespace {

/// The own address of a socket that is joined to `address`; nothing is sent.
bool own_address(const addrinfo& address, sockaddr_in& own) {
  const int socket = ::socket(address.ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  socklen_t size = sizeof(own);
  const bool known = socket >= 0 && ::connect(socket, address.ai_addr, address.ai_addrlen) == 0 &&
                     ::getsockname(socket, reinterpret_cast<sockaddr*>(&own), &size) == 0;
  if (socket >= 0) {
    ::close(socket);
  }
  return known;
}

std::string name_of_address(const sockaddr_in& own) {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) {
    return "unknown";
  }
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> list(first, &::freeifaddrs);
  for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr != nullptr && entry->ifa_addr->sa_family == AF_INET) {
      sockaddr_in address{};
      std::memcpy(&address, entry->ifa_addr, sizeof(address));
      if (address.sin_addr.s_addr == own.sin_addr.s_addr) {
        return entry->ifa_name;
      }
    }
  }
  return "unknown";
}

}  // namespace

std::string interface_towards(const std::string& host) {
  addrinfo wanted{};
  wanted.ai_family = AF_INET;
  wanted.ai_socktype = SOCK_DGRAM;
  addrinfo* first = nullptr;
  constexpr const char* kAnyPort = "9";
  if (::getaddrinfo(host.c_str(), kAnyPort, &wanted, &first) != 0 || first == nullptr) {
    return "unknown";
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(first, &::freeaddrinfo);
  sockaddr_in own{};
  if (!own_address(*first, own)) {
    return "unknown";
  }
  std::array<char, INET_ADDRSTRLEN> text{};
  ::inet_ntop(AF_INET, &own.sin_addr, text.data(), text.size());
  return fmt::format("{} ({})", name_of_address(own), text.data());
}

}  // namespace dormer::cli
