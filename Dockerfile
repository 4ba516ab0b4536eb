# docker build -t realtime-proxy . && docker run -p 8080:8080 -e SUPABASE_URL=... -e SUPABASE_SERVICE_ROLE_KEY=... realtime-proxy

FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH
# The version in the binary comes from .git, so the context holds every committed file.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags="-s -w" -o /out/realtime-proxy ./cmd/realtime-proxy

# Nothing but the static binary and the certificates that TLS to Supabase is checked against.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/realtime-proxy /realtime-proxy
# A user without a name, because the image has no user database.
USER 65532:65532
# 8080 serves visitors. 8081, the admin port, listens on loopback inside the container unless PROXY_ADMIN_LISTEN opens it.
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 CMD ["/realtime-proxy", "health"]
ENTRYPOINT ["/realtime-proxy"]
CMD ["serve"]
