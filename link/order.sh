#!/usr/bin/env bash
# Writes link/order.txt: which functions the daemon runs at its start and when idle, and which when messages pass. build.rs has the linker
# put them side by side, so that few pages of the binary are resident. Names are without hashes, so the list serves other builds too;
# what has become stale costs some memory and nothing else.
#
# Usage: link/order.sh BINARY      not stripped; needs valgrind
set -euo pipefail
binary=$(realpath "$1") list=$(realpath "$(dirname "$0")")/order.txt
work=$(mktemp -d)
daemon=
trap '[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

# functions USE...: runs the daemon under valgrind, USE beside it, and prints the functions that the daemon ran.
functions() {
  CIM_NATS_PORT=0 CIM_REST_PORT=0 CIM_LOG_DIR=$work/logs valgrind --tool=callgrind --demangle=no --callgrind-out-file=calls "$binary" >out 2>err &
  daemon=$!
  for _ in $(seq 300); do grep -q '^cim ' out && break || sleep 0.2; done
  nats=$(sed -n 's/.* NATS on \([^,]*\),.*/\1/p' out) rest=$(sed -n 's/.* HTTP on \([^,]*\),.*/\1/p' out)
  [ -n "$nats" ] && [ -n "$rest" ] || { echo "the daemon did not start:" >&2; cat out err >&2; return 1; }
  "$@" >&2
  kill "$daemon" && wait "$daemon"
  daemon=
  # callgrind's format: (ID) NAME where an object or a function comes first, (ID) alone from then on.
  awk -v binary="$binary" '
    function name(names) { match($0, /\([0-9]+\)/); id = substr($0, RSTART, RLENGTH); rest = substr($0, RSTART + RLENGTH + 1); if (rest != "") names[id] = rest; return names[id] }
    /^ob=/ { object = name(objects) }
    /^cob=/ { name(objects) }
    /^fn=/ { ran = name(functions); if (object == binary) print ran }
    /^cfn=/ { name(functions) }' calls |
    sed -E -e "s/'[0-9]+$//" -e 's/(\.llvm)?\.[0-9]+$//' -e 's/17h[0-9a-f]{16}E$//' -e 's/Cs[0-9A-Za-z]+_/Cs*_/g' -e 's/^(.{100}).*/\1/' |
    grep -E '^[A-Za-z_]' | LC_ALL=C sort -u
}

idle() { sleep 10; }
get() {
  exec 3<>"/dev/tcp/${rest%:*}/${rest#*:}"
  printf '%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %s\r\nConnection: close\r\n\r\n%s' "$1" "$2" "${#3}" "$3" >&3
  cat <&3 >/dev/null
}
busy() {
  export CIM_REST_PORT=${rest#*:}
  get POST /api/v1/_operations/xgvela/register '{"container_name":"sample","container_id":"0000"}'
  for _ in 1 2 3; do seq 2000 | "$binary" emit log --server "nats://$nats" --container sample -; done
  "$binary" emit event Sample --server "nats://$nats"
  timeout 5 "$binary" tail LOG --server "nats://$nats" --count 1 &
  seq 2000 | "$binary" emit log --server "nats://$nats" --container other -
  for path in /metrics /healthz /readyz /status; do get GET "$path" ''; done
  wait $! || true
}

functions idle >idle
functions busy >all
{
  echo '# Functions that the daemon runs, without hashes; made by `make link-order`.'
  echo '# At its start, when idle, and at its end:'
  cat idle
  echo '# When messages pass:'
  LC_ALL=C comm -13 idle all
} >"$list"
wc -l "$list" >&2
