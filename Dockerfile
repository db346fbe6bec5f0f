# The image of CIM: one binary, the C library that it was built with, and nothing else. No shell, no package manager.
#
# Not static: the C library's allocator and resolver are what the measurements were made with, and libraries in C are in it (HTTP/2,
# Kafka, OpenSSL). Not on a base image: what a small one brings besides (a shell, or files that nobody asked for) is what it would have to be updated for.
# deploy/image-root.sh says which files there are; `make integration-test` starts CIM in them.

FROM rust:1-bookworm AS build
WORKDIR /cim
COPY . .
RUN make image-root FEATURES=kafka-tls

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="CIM" \
      org.opencontainers.image.description="Container Interface Module: the sidecar that frees an application from its infrastructure" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /cim/target/image-root/ /
# Outside of a pod too.
ENV CIM_LOG_DIR=/opt/logs
USER 10001:10001
# No EXPOSE: everything listens on loopback, for the pod alone. Kubernetes has probes of its own and does not look at this.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/usr/local/bin/cim", "health"]
ENTRYPOINT ["/usr/local/bin/cim"]
