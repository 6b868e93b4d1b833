# syntax=docker/dockerfile:1
# Two images from one build, each a single static binary.
#
#   docker build --target broker   -t localhost/ottla/broker:0.1.0 .
#   docker build --target operator -t localhost/ottla/operator:0.1.0 .
#
# `cargo xtask images` builds the same without Docker and without a registry: it compiles with cargo and
# puts a folder in the place of the stage "build" (buildah's --build-context).

FROM --platform=$BUILDPLATFORM rust:1.95-bookworm AS build
ARG BUILDARCH
ARG TARGETARCH
WORKDIR /src
COPY . .
# The target is always named: only then are the flags kept away from build scripts and procedural macros,
# which cannot be static.
RUN set -eu; \
    case "$TARGETARCH" in \
        amd64) machine=x86_64 ;; \
        arm64) machine=aarch64 ;; \
        *) echo "no build for $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    target=$machine-unknown-linux-gnu; \
    if [ "$TARGETARCH" != "$BUILDARCH" ]; then \
        package=$(echo "$machine" | tr _ -); \
        apt-get update -q; \
        apt-get install -q -y --no-install-recommends "gcc-$package-linux-gnu" "libc6-dev-$TARGETARCH-cross"; \
        variable=$(echo "$target" | tr a-z- A-Z_); \
        export "CARGO_TARGET_${variable}_LINKER=$machine-linux-gnu-gcc"; \
    fi; \
    rustup target add "$target"; \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --target "$target" \
        --package ottla --bin ottla --package ottla-operator --bin ottla-operator; \
    mkdir /out; \
    cp "target/$target/release/ottla" "target/$target/release/ottla-operator" /out/

FROM scratch AS broker
COPY --from=build /out/ottla /ottla
USER 65532:65532
ENTRYPOINT ["/ottla"]

FROM scratch AS operator
COPY --from=build /out/ottla-operator /ottla-operator
USER 65532:65532
ENTRYPOINT ["/ottla-operator"]
