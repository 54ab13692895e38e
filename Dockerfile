# Two stages: build with cargo, run with nothing but the binary and the certificates it needs.
ARG BUILD_BASE=rust:1.95-bookworm
ARG RUN_BASE=debian:bookworm-slim

FROM ${BUILD_BASE} AS build
WORKDIR /src
COPY . .
# The allocator is built for pages of one size, and some kernels of this architecture have pages of
# 64 kB: it serves smaller ones too.
RUN if [ "$(uname -m)" = aarch64 ]; then export JEMALLOC_SYS_WITH_LG_PAGE=16; fi && cargo build --locked --release

FROM ${RUN_BASE}
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/textback /usr/local/bin/textback
COPY LICENSE /usr/share/doc/textback/LICENSE
USER 10001
# Metrics have no key, so they stay on loopback unless TEXTBACK_METRICS_LISTEN says otherwise.
# textback work serves its health there too, for the check below.
ENV TEXTBACK_LISTEN=0.0.0.0:8080 TEXTBACK_LOG=json
EXPOSE 8080
# Whether the process runs. Some supervisors restart a container that is unhealthy, and a restart
# repairs no database, so readiness is not asked here.
HEALTHCHECK --interval=30s --timeout=20s --start-period=30s CMD ["textback", "healthcheck", "--live"]
STOPSIGNAL SIGTERM
LABEL org.opencontainers.image.title="textback" \
      org.opencontainers.image.description="Answers text messages: one binary, one PostgreSQL" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["textback"]
CMD ["serve"]
