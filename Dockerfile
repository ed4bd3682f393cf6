# The proxy in a container: docker build -t catalog-proxy .
# Runs as a fixed user on a read-only root file system; deploy/compose.yaml shows how.

# The same Debian as below: the binary must not need a newer libc than it will find.
FROM docker.io/library/rust:1.95-slim-bookworm AS build
WORKDIR /src

# Dependencies first, for an empty crate: this slow layer is made anew only when a manifest changes. It is
# a plain layer and no cache mount, so that every builder keeps it.
# Cargo wants the files of every target it is told of; the sections of benches and tests go, because these
# are not in the context. The empty crate's output goes too: the real sources may have older file times,
# and Cargo would take it for up to date.
COPY Cargo.toml Cargo.lock ./
RUN awk 'BEGIN { keep = 1 } /^\[/ { keep = !/^\[\[(bench|test)\]\]/ } keep' Cargo.toml > build.toml \
    && mv build.toml Cargo.toml \
    && mkdir src && echo '//! Empty.' | tee build.rs src/lib.rs > src/main.rs \
    && echo 'fn main() {}' | tee --append build.rs >> src/main.rs \
    && cargo build --release --locked \
    && cargo clean --release --locked --package catalog-proxy

# What `--version` says, as there is no git in here: the commit, and the seconds since 1970 at which it was made.
ARG SOURCE_REVISION
ARG SOURCE_DATE_EPOCH
COPY build.rs whitelist.toml ./
COPY assets assets
COPY src src
# install sets the modes: in a checkout made with a strict umask the list is for its owner alone.
RUN cargo build --release --locked \
    && install -D --mode=755 target/release/catalog-proxy /out/catalog-proxy \
    && install -D --mode=644 whitelist.toml /out/whitelist.toml

FROM docker.io/library/debian:bookworm-slim

# The slim image has no roots to verify the upstream's certificate with.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*

# Where a volume for --cache-dir goes; a new volume takes its owner from here.
RUN install --directory --owner=65532 --group=65532 /var/cache/catalog-proxy

COPY --from=build /out/whitelist.toml /etc/catalog-proxy/whitelist.toml
COPY --from=build /out/catalog-proxy /usr/local/bin/catalog-proxy

# docker build --build-arg VERSION=… --build-arg SOURCE_REVISION=… --build-arg SOURCE_URL=…: where it comes from.
ARG VERSION
ARG SOURCE_REVISION
ARG SOURCE_URL
LABEL org.opencontainers.image.title="catalog-proxy" \
      org.opencontainers.image.description="A filtering, caching reverse proxy for Plesk's extension catalog" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$SOURCE_REVISION" \
      org.opencontainers.image.source="$SOURCE_URL"

# An example. Mount your own directory over /etc/catalog-proxy, not a file over this one: a mounted file
# does not change when an editor or mv puts a new one in its place.
ENV CATALOG_PROXY_WHITELIST=/etc/catalog-proxy/whitelist.toml

# A number, not a name: Kubernetes' runAsNonRoot cannot look names up.
USER 65532:65532

# 8081, the admin port, is the container's own until CATALOG_PROXY_ADMIN_LISTEN=0.0.0.0:8081.
EXPOSE 8080 8081

# It asks the address in CATALOG_PROXY_LISTEN and does not see flags given to serve: configure by variables.
# It gives up after 5 s itself and says why; the timeout leaves it time for that.
HEALTHCHECK --interval=30s --timeout=6s --start-period=5s --retries=3 \
    CMD ["catalog-proxy", "healthcheck"]

# Exec form: the proxy is process 1 and gets the SIGTERM of `docker stop`.
ENTRYPOINT ["catalog-proxy"]
CMD ["serve"]
