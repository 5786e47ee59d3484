#!/usr/bin/env bash
# Prints the Debian packages that the built program and its modules load libraries from, one a line: what an image needs beside the build.
#
#   cluster/runtime_packages.sh [BUILD]      (default: build/release)
set -euo pipefail
build=${1:-$(dirname "${BASH_SOURCE[0]}")/../build/release}
[ -x "$build/bin/dormer" ] || { echo "runtime_packages: $build/bin/dormer is missing; launch/setup.sh builds it" >&2; exit 1; }

# The package of a library. dpkg knows some by the folder that /lib has become a link to, some by its old name.
package_of() {
  local found
  found=$(dpkg-query --search "$1" 2> /dev/null || dpkg-query --search "${1#/usr}" 2> /dev/null) || {
    echo "runtime_packages: no package has $1; install the library from Debian" >&2
    return 1
  }
  echo "${found%%:*}"
}

libraries=$(ldd "$build/bin/dormer" "$build"/lib/lib*.so | awk '$2 == "=>" && $3 ~ "^/(usr/)?lib/" { print $3 }' | sort -u)
packages=$(for library in $libraries; do package_of "$(realpath "$library")" || exit 1; done)
sort -u <<< "$packages"
