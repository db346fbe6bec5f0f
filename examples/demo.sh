#!/usr/bin/env bash
# `make demo`: CIM with a real etcd, with a real Kafka where Java is (and Maven has fetched its jars), and the sample application, through
# what CIM is for. Each step is the command that a person would use, and what it prints. Everything is on free ports of loopback and in a
# directory of its own; what the demo started it ends.
#
# Usage: examples/demo.sh CIM SAMPLE-APPLICATION [KAFKA-JARS]
set -euo pipefail

cim=$(realpath "$1") app=$(realpath "$2") jars=${3:+$(realpath "$3")}
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] && bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m' || bold='' dim='' plain=''
PATH=$(dirname "$cim"):$PATH
dir=$(mktemp -d)
cd "$dir"
stop_all() {
  local status=$? children
  mapfile -t children < <(jobs -p)
  [ ${#children[@]} -eq 0 ] || { kill -9 "${children[@]}" && wait; } 2>/dev/null || true
  [ $status -eq 0 ] || { echo "the demo failed; the end of its logs:" >&2; tail -n 20 ./*.out >&2 || true; }
  rm -rf "$dir"
}
trap stop_all EXIT

step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
say() { printf '%s\n' "$*"; }
# Prints a command and runs it.
show() {
  printf '%s$ %s%s\n' "$dim" "$*" "$plain"
  eval "$*"
}
# until_true WHAT COMMAND: tries the command for a minute.
until_true() {
  local deadline=$((SECONDS + 60))
  until eval "$2" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || { echo "waited in vain for: $1" >&2; exit 1; }
    sleep 0.1
  done
}
# start NAME COMMAND...: in the background, with its output in NAME.out
start() {
  local name=$1
  shift
  "$@" >"$name.out" 2>&1 &
}
free_port() {
  local port
  while port=$((RANDOM % 20000 + 10000)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

step "An etcd for the configuration${jars:+, a Kafka for the events}"
etcd_port=$(free_port) peer_port=$(free_port) app_port=$(free_port)
export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=127.0.0.1:$etcd_port
start etcd etcd --data-dir etcd --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
  --listen-peer-urls "http://127.0.0.1:$peer_port" --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" \
  --initial-cluster "default=http://127.0.0.1:$peer_port"
until_true "etcd" "curl -sf http://127.0.0.1:$etcd_port/health"
say "etcd on 127.0.0.1:$etcd_port"
if [ -n "$jars" ]; then
  kafka_port=$(free_port) controller_port=$(free_port) kafka=127.0.0.1:$kafka_port
  java=(java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$jars/*")
  printf '%s\n' process.roles=broker,controller node.id=1 "controller.quorum.voters=1@127.0.0.1:$controller_port" \
    "listeners=PLAINTEXT://$kafka,CONTROLLER://127.0.0.1:$controller_port" "advertised.listeners=PLAINTEXT://$kafka" \
    controller.listener.names=CONTROLLER listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT \
    "log.dirs=$dir/kafka" offsets.topic.replication.factor=1 offsets.topic.num.partitions=1 group.initial.rebalance.delay.ms=0 \
    share.coordinator.state.topic.replication.factor=1 >kafka.properties
  "${java[@]}" kafka.tools.StorageTool format --cluster-id Y2ltLXRlc3RzLWthZmthLQ --config kafka.properties >format.out 2>&1
  start kafka "${java[@]}" kafka.Kafka kafka.properties
  until_true "Kafka" "(exec 3<>/dev/tcp/127.0.0.1/$kafka_port)"
  say "Kafka on $kafka"
  # As in Kafka's own folder bin/.
  kafka-console-consumer.sh() { "${java[@]}" org.apache.kafka.tools.consumer.ConsoleConsumer --timeout-ms 30000 "$@" 2>/dev/null; }
  export CIM_KAFKA_BROKERS=$kafka
else
  say "no Kafka (java and its jars are not here): events go to a file"
fi

step "CIM, standalone"
export CIM_ETCD_URL=127.0.0.1:$etcd_port CIM_APP_URL=http://127.0.0.1:$app_port CIM_NATS_PORT=0 CIM_REST_PORT=0 NF_CONFIG_REVISION=0
printf '%s$ CIM_ETCD_URL=%s CIM_APP_URL=%s%s cim%s\n' "$dim" "$CIM_ETCD_URL" "$CIM_APP_URL" "${jars:+ CIM_KAFKA_BROKERS=$kafka}" "$plain"
start cim cim
daemon=$!
until_true "the first line of CIM" "grep -q '^cim .*: NATS on' cim.out"
head -n 1 cim.out
nats=$(sed -n '1s/.*NATS on \([^,]*\).*/\1/p' cim.out) http=$(sed -n '1s/.*HTTP on \([^,]*\).*/\1/p' cim.out)
export CIM_NATS=$nats CIM_HTTP=$http

step "1. An application registers, and logs"
say "It has no configuration yet, and asks for one with the event NotConfigured (Day-1): CIM waits for it in etcd."
CIM_NATS_URL=nats://$nats CIM_HTTP_URL=http://$http APP_PORT=$app_port start app "$app"
application=$!
until_true "the registration" "grep -q registered: app.out"
until_true "lines of the application" "grep -hq 'number 2' cim-data/logs/*_sample-*.log"
show "tail -n 3 cim-data/logs/*_sample-*.log"

step "2. Configuration: Day-1, and a change"
ms=standalone/app
show "etcdctl put config/$ms/0 '{\"sample.json\": \"{\\\"greeting\\\": \\\"good morning\\\"}\"}'"
until_true "the first configuration" "grep -hq 'configured:' cim-data/logs/*_sample-*.log"
show "grep -h configured: cim-data/logs/*_sample-*.log"
show "etcdctl put change-set/$ms/v0/ms/sample.json/1 '[{\"op\": \"replace\", \"path\": \"/greeting\", \"value\": \"good evening\"}]'"
until_true "its commit" "[ \"\$(etcdctl get --prefix --print-value-only commit-config/$ms/v0/ms/)\" = 1 ]"
show "grep -h 'change set' cim-data/logs/*_sample-*.log"
show "etcdctl get --prefix commit-config/$ms/v0/ms/"
show "curl -s http://$http/api/v1/_operations/config/history"
say

step "3. Events: stored first, then delivered"
if [ -n "$jars" ]; then
  delivered() { curl -s "http://$http/metrics" | grep '^cim_events_delivered_total' | grep -qE ' [1-9]'; }
  until_true "the first delivered event" delivered
  show "kafka-console-consumer.sh --bootstrap-server $kafka --topic EVENT --from-beginning --max-messages 5"
else
  until_true "events in the file" "[ \$(wc -l <cim-data/logs/*_events.jsonl) -ge 5 ]"
  show "head -n 5 cim-data/logs/*_events.jsonl"
fi
show "curl -s http://$http/metrics | grep -E '^cim_(events_(stored|delivered)_total|journal_records)'"

step "4. The end, in order"
say "SIGTERM: CIM asks the application to stop, waits for its event ShutdownSuccess, stores what is left, and ends."
show "kill -TERM $daemon"
wait "$daemon"
wait "$application"
say "both ended with 0"
show "tail -n 2 cim-data/logs/*_sample-*.log"
say
say "Now with your own: docs/applications.md, and the sample application in Rust, Python and Go in examples/."
