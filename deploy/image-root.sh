#!/usr/bin/env bash
# Lays out the file system of the image: the binary, the libraries that it is linked with, and the few files that they look for.
#
# Usage: deploy/image-root.sh BINARY DIRECTORY
set -euo pipefail
binary=$1 root=$2
cd "$(dirname "$0")/.."
user=10001

rm -rf "$root"
mkdir -p "$root"/{etc,opt/config,opt/logs,usr/local/bin,usr/share/doc/cim}
install -m 755 "$binary" "$root/usr/local/bin/cim"

# The libraries, where the loader looks for them: the C library's and the compiler's.
libraries=$(ldd "$binary" | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }')
for library in $libraries; do
  case $(basename "$library") in
    ld-linux-*.so.* | libc.so.6 | libm.so.6 | libgcc_s.so.1 | libdl.so.2 | libpthread.so.0 | librt.so.1) ;;
    *) echo "$library: CIM is not to be linked with this library" >&2; exit 1 ;;
  esac
  install -D -m 755 "$library" "$root$library"
done
[ -n "$libraries" ] || { echo "$binary: not linked with a C library" >&2; exit 1; }

# Names and addresses: the C library has both services built in.
printf 'hosts: files dns\n' > "$root/etc/nsswitch.conf"
printf 'cim:x:%s:%s:CIM:/opt/logs:/sbin/nologin\n' "$user" "$user" > "$root/etc/passwd"
printf 'cim:x:%s:\n' "$user" > "$root/etc/group"
# For TLS towards what public authorities have signed. Without them CIM needs the files of its settings.
authorities=/etc/ssl/certs/ca-certificates.crt
if [ -f "$authorities" ]; then install -D -m 644 "$authorities" "$root$authorities"; fi

install -m 644 deploy/eventdef-cim.json "$root/opt/config/"
install -m 644 LICENSE "$root/usr/share/doc/cim/"
for package in libc6 libgcc-s1; do
  copyright=/usr/share/doc/$package/copyright
  if [ -f "$copyright" ]; then install -D -m 644 "$copyright" "$root$copyright"; fi
done
# What the user may write: a volume takes its place, and its owner.
if [ "$(id -u)" = 0 ]; then chown "$user:$user" "$root/opt/logs"; fi
