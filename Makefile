# make run    builds and starts the demonstration centre
# make test   everything: unit and scenario tests, then end-to-end tests with real phones

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: build run test unit e2e lint deps postgres prompts bench clean

build:
	$(GO) build -trimpath -o bin/ ./cmd/hotline ./cmd/softphone

run: build postgres
	@exec bin/hotline serve

test: unit e2e

unit: deps
	$(GO) test -race -timeout 5m ./...
	$(GO) test -race -timeout 3m -tags portable ./sip/media/...

# The end-to-end tests (cmd/hotline/e2e_*_test.go, TestE2E…) run where there is
# no network but loopback. All is built before.
e2e: deps
	$(GO) build -race -o bin/race/ ./cmd/hotline ./cmd/softphone
	$(GO) test -c -race -tags e2e -o bin/e2e.test ./cmd/hotline
	$(GO) test -c -race -tags e2e -o bin/calllog.test ./acd/calllog
	$(GO) test -c -race -o bin/sip.test ./sip
	@rm -f bin/e2e.skips
	@if [ "$$(id -u)" = 0 ] && unshare -n true 2>/dev/null; then ns="unshare -n"; \
	elif unshare -rn true 2>/dev/null; then ns="unshare -rn"; \
	else echo "No end-to-end test ran: this system lets us make no network namespace (unshare -n, unshare -rn)."; \
		[ "$$CI" != true ]; exit; fi; \
	export HOTLINE_BIN="$(CURDIR)/bin/race" HOTLINE_E2E_SKIPS="$(CURDIR)/bin/e2e.skips"; status=0; \
	alone() { (cd "$$1" && shift && $$ns sh -c 'ip link set lo up && exec "$$@"' sh "$$@") || status=1; }; \
	alone sip ../bin/sip.test -test.timeout 2m -test.run '^TestTorture'; \
	alone acd/calllog ../../bin/calllog.test -test.timeout 4m -test.run '^Test(Private|FindPostgres|PostgresLog)'; \
	alone cmd/hotline ../../bin/e2e.test -test.v -test.parallel 8 -test.timeout 7m -test.run '^TestE2E'; \
	if [ -s "$$HOTLINE_E2E_SKIPS" ]; then echo "These end-to-end tests did not run:"; cat "$$HOTLINE_E2E_SKIPS"; fi; \
	exit $$status

lint:
	@test -z "$$(gofmt -l .)" || { echo "not formatted:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags e2e ./cmd/hotline ./acd/calllog
	$(GO) vet -tags portable ./sip/media/...
	GOOS=darwin $(GO) vet ./acd/... ./sip/... ./ivr/... ./recordings/...
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) -tags e2e ./cmd/hotline ./acd/calllog

# What the tests need besides Go, each with what it is known by.
POSTGRES = 'postgresql:initdb,/usr/lib/postgresql/*/bin/initdb'

deps:
	@.ci/install $(POSTGRES) gcc:gcc,cc libc6-dev:/usr/include/stdlib.h sip-tester:sipp baresip-core:baresip \
		'libsndfile1:/usr/lib/*/libsndfile.so.1,/usr/lib/libsndfile.so.1,/usr/lib64/libsndfile.so.1' \
		linphone-cli:linphonec espeak-ng:espeak-ng sox:sox iproute2:ip util-linux:unshare

postgres:
	@.ci/install $(POSTGRES)

# Renders the spoken prompts anew (espeak-ng, sox); the result is committed.
prompts: deps
	ivr/prompts/render.sh

# Go benchmarks of the parts.
bench:
	$(GO) test -run '^$$' -bench . -benchmem ./acd/... ./sip/media/... ./recordings/...

clean:
	rm -rf bin
