# syntax=docker/dockerfile:1
# Builds two images: `--target operator` and `--target fetcher`.

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
# For tests, `quick` compiles in a third of the time.
ARG PROFILE=release
COPY . .
# One compilation serves both targets. The cache mounts outlive the layer, so an edit compiles only what it affects.
RUN --mount=type=cache,id=modelcache-cargo-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=modelcache-cargo-target,target=/src/target \
    cargo build --locked --profile "$PROFILE" --bin modelcache-operator --bin modelcache-fetcher \
    && install -D --target-directory=/out "target/$PROFILE/modelcache-operator" "target/$PROFILE/modelcache-fetcher"

FROM gcr.io/distroless/cc-debian12:nonroot AS base
LABEL org.opencontainers.image.source="https://github.com/modelcache/modelcache" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="modelcache"
# Numeric: the kubelet cannot verify that a user name is not root (runAsNonRoot).
USER 65532:65532

FROM base AS fetcher
LABEL org.opencontainers.image.title="modelcache-fetcher" \
      org.opencontainers.image.description="Fetches a model in parallel byte ranges, verifies every byte and publishes it atomically"
COPY --from=build /out/modelcache-fetcher /usr/local/bin/modelcache-fetcher
ENTRYPOINT ["/usr/local/bin/modelcache-fetcher"]

FROM base AS operator
LABEL org.opencontainers.image.title="modelcache-operator" \
      org.opencontainers.image.description="Turns ModelCache objects into verified models on PersistentVolumeClaims"
COPY --from=build /out/modelcache-operator /usr/local/bin/modelcache-operator
ENTRYPOINT ["/usr/local/bin/modelcache-operator"]
