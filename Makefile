# Holdfast. The commands that people use are at the top; everything below serves them.
# `make` alone builds build/holdfast. SAN=asan, tsan or fuzz builds with sanitizers in a folder of its
# own. `make test SUITES="unit/broker integ"` runs a part of the tests.

SHELL := /bin/bash
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules

SAN ?=
CC ?= cc
ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build$(if $(SAN),/$(SAN))

PKGS := openssl libevent_core jansson libpq libcurl libjwt
CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wconversion -Wvla -Wstrict-prototypes -Wmissing-prototypes \
	-Wpointer-arith -Wformat=2 -Wundef -Werror
HF_CFLAGS := -std=gnu17 -pthread -fno-strict-aliasing -fstack-protector-strong -fPIE -I. $(WARN) \
	-D_GNU_SOURCE $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
HF_LDFLAGS := -pthread -pie -Wl,-z,relro,-z,now
HF_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lhttp_parser -lwslay -lm
ifeq ($(SAN),asan)
HF_CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1
HF_LDFLAGS += -fsanitize=address,undefined
else ifeq ($(SAN),tsan)
HF_CFLAGS += -fsanitize=thread -fno-omit-frame-pointer -O1
HF_LDFLAGS += -fsanitize=thread
else ifeq ($(SAN),fuzz)
# libFuzzer is clang's; what only clang warns of is judged by `make analyze`, not here.
CC := clang
HF_CFLAGS := $(filter-out -Werror,$(HF_CFLAGS)) -w -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all -fno-omit-frame-pointer -O1
HF_LDFLAGS += -fsanitize=address,undefined
else
HF_CFLAGS += -D_FORTIFY_SOURCE=2
endif

.PHONY: all run test soak demo bench lint analyze fuzz sanitize unit clean install-deps
.PHONY: unit-programs fuzz-programs

all: $(BUILD)/holdfast

run:
	@BUILD='$(BUILD)' exec deploy/run
test:
	@exec tests/run $(SUITES)
soak:
	@exec tests/run --soak $(SUITES)
demo:
	@exec deploy/demo
bench:
	@exec tests/bench/run
lint:
	@exec tests/lint/run
analyze:
	@exec tests/lint/analyze
fuzz:
	@exec tests/fuzz/run
sanitize:
	@exec tests/run --sanitize $(SUITES)
install-deps:
	@exec deploy/install-deps

# ---- rooms: one static library each; tests/lint/layers says who may include whom ----
ROOMS := base net outbound broker registry policy storage ingest api hall
SRC_base := $(wildcard server/base/*.c)
SRC_net := $(wildcard server/net/*.c)
SRC_outbound := $(wildcard server/outbound/*.c)
SRC_broker := $(wildcard broker/*.c broker/*/*.c)
SRC_registry := $(wildcard registry/*.c registry/*/*.c)
SRC_policy := $(wildcard policy/*.c policy/*/*.c)
SRC_storage := $(wildcard storage/*.c storage/*/*.c)
SRC_ingest := $(wildcard server/ingest/*.c)
SRC_api := $(wildcard server/api/*.c)
SRC_hall := $(filter-out server/main.c,$(wildcard server/*.c))

define room
$(BUILD)/lib/$(1).a: $$(SRC_$(1):%.c=$(BUILD)/obj/%.o)
	@mkdir -p $$(@D)
	@rm -f $$@
	@ar rcs $$@ $$^
.PHONY: room-$(1)
room-$(1): $(BUILD)/lib/$(1).a
endef
$(foreach r,$(ROOMS),$(eval $(call room,$(r))))

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(CC) $(CFLAGS) $(HF_CFLAGS) -MMD -MP -c -o $@ $<

ALL_LIBS := $(foreach r,hall api ingest net outbound broker registry policy storage base,$(BUILD)/lib/$(r).a)

# Whole archives, so that two rooms cannot define one name without the linker saying so.
$(BUILD)/holdfast: $(BUILD)/obj/server/main.o $(ALL_LIBS)
	@echo "  LINK $@"
	@$(CC) $(CFLAGS) $(HF_LDFLAGS) -o $@ $< -Wl,--whole-archive $(ALL_LIBS) -Wl,--no-whole-archive $(HF_LIBS)

# ---- unit tests: tests/unit/ROOM/test_*.c, each one program over that room, what it may see, base ----
UNIT_SRC := $(wildcard tests/unit/*/test_*.c)
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)
CHECK_CFLAGS = $(shell pkg-config --cflags check 2>/dev/null)
CHECK_LIBS = $(shell pkg-config --libs check 2>/dev/null)
# Rooms that a room's unit tests link beside itself and base.
UNIT_WITH_hall := net outbound broker registry policy storage ingest api
UNIT_WITH_api := net broker registry policy storage ingest
UNIT_WITH_broker := storage
UNIT_WITH_registry := storage
UNIT_WITH_policy := storage
UNIT_WITH_ingest := net broker registry policy storage

.SECONDEXPANSION:
$(BUILD)/unit/%: tests/unit/%.c $$(foreach r,$$(firstword $$(subst /, ,$$*)) $$(UNIT_WITH_$$(firstword $$(subst /, ,$$*))) base,$(BUILD)/lib/$$(r).a)
	@mkdir -p $(@D)
	@echo "  TEST $<"
	@$(CC) $(CFLAGS) $(HF_CFLAGS) $(CHECK_CFLAGS) -MMD -MP -MF $@.d $(HF_LDFLAGS) -o $@ $< \
		-Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(HF_LIBS) $(CHECK_LIBS)

unit-programs: $(UNIT_BIN)
unit: $(UNIT_BIN)
	@for t in $(UNIT_BIN); do echo "== $$t"; $$t || exit 1; done
# One room's unit tests: make unit-broker
unit-%:
	@$(MAKE) --no-print-directory $(filter $(BUILD)/unit/$*/%,$(UNIT_BIN))
	@for t in $(filter $(BUILD)/unit/$*/%,$(UNIT_BIN)); do echo "== $$t"; $$t || exit 1; done

# ---- fuzz targets: tests/fuzz/fuzz_*.c, with SAN=fuzz ----
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

fuzz-programs: $(FUZZ_BIN)
$(BUILD)/fuzz/%: tests/fuzz/%.c $(ALL_LIBS)
	@mkdir -p $(@D)
	@echo "  FUZZ $<"
	@$(CC) $(CFLAGS) $(HF_CFLAGS) -MMD -MP -MF $@.d $(HF_LDFLAGS) -fsanitize=fuzzer -o $@ $< \
		-Wl,--start-group $(ALL_LIBS) -Wl,--end-group $(HF_LIBS)

# The store stage alone, for make bench.
$(BUILD)/bench/store_bench: tests/bench/store_bench.c $(BUILD)/lib/storage.a $(BUILD)/lib/base.a
	@mkdir -p $(@D)
	@echo "  BENCH $<"
	@$(CC) $(CFLAGS) $(HF_CFLAGS) $(HF_LDFLAGS) -o $@ $^ $(HF_LIBS)

clean:
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
