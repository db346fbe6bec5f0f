# The image of CIM: one binary on Debian's C library.
#
# Not static: the C library's allocator and resolver are what the measurements were made with, and libraries in C are in it (HTTP/2,
# Kafka). Not smaller than Debian slim: it is the base that the build stage has too, so both have one C library, and
# it comes from the same registry.

FROM rust:1-bookworm AS build
WORKDIR /cim
COPY . .
RUN make release FEATURES=kafka-tls

FROM debian:bookworm-slim
RUN install -d -o 10001 -g 10001 /opt/logs
COPY --from=build /cim/target/release/cim /usr/local/bin/cim
COPY deploy/eventdef-cim.json /opt/config/
USER 10001:10001
# No EXPOSE: everything listens on loopback, for the pod alone.
ENTRYPOINT ["/usr/local/bin/cim"]
