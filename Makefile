# make study  set up, then run the notebooks (mini preset): figures and numbers in runs/mini/
# make test   set up, then run the tests
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
APT := libegl1 libopengl0 libgl1-mesa-dri

.PHONY: study test full clean system browser
study: $(READY)
	$(BIN)/pisa study --preset mini
full: $(READY)
	$(BIN)/pisa study --preset full
test:
	@$(MAKE) --no-print-directory -j2 $(READY) browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

$(READY): pyproject.toml constraints.txt | system
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is missing: apt-get install -y python3 python3-venv"; exit 1; }
	$(BIN)/python -c "import sys, pip; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip==26.3"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch $@

# Off-screen rendering needs EGL and Mesa, environments need ensurepip: installed here as root, named otherwise.
system:
	@missing=""; \
	if [ "$$(uname)" = Linux ]; then \
	  /sbin/ldconfig -p | grep -q libEGL.so.1 && /sbin/ldconfig -p | grep -q libOpenGL.so.0 || missing="$(APT)"; \
	fi; \
	test -x $(BIN)/pip || $(PYTHON) -c "import ensurepip" 2>/dev/null \
	  || missing="$$missing $$(basename "$$($(PYTHON) -c 'import sys; print("python%d.%d" % sys.version_info[:2])')")-venv"; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; \
	  else \
	    echo "Missing system libraries. Install them and call make again: sudo apt-get install -y $$missing"; exit 1; \
	  fi; \
	fi

# Tests of widgets play them in Chromium; without one they are skipped.
browser: | system
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	} || echo "No Chromium: tests of widgets in a browser are skipped."

clean:
	rm -rf $(VENV) runs
