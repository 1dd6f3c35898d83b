# The same commands for a person and for CI. Each does all the set-up it needs, from nothing.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .make

.PHONY: help demo test check fix bench docs screenshots train crash lock clean

help: ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t14

demo: $(STAMP)/venv ## set everything up and run the main job: the door (console at http://127.0.0.1:8470)
	$(BIN)/edgewise demo door

test: $(STAMP)/venv $(STAMP)/system $(STAMP)/homeassistant ## set everything up and run all tests
	$(BIN)/pytest $(PYTEST)

check: $(STAMP)/venv ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(STAMP)/venv ## let the tools mend what they can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)/venv $(STAMP)/system ## measure against limits and peers, side by side
	$(BIN)/python -m benchmarks

docs: $(STAMP)/venv ## run every command and example in the documentation
	$(BIN)/pytest tests/docs

screenshots: $(STAMP)/venv $(STAMP)/system ## make the README's pictures from a running node
	$(BIN)/python scripts/screenshots.py

train: $(STAMP)/venv ## train the shipped models anew
	$(BIN)/python scripts/train_cifar10.py
	$(BIN)/python scripts/train_watch.py
	$(BIN)/python scripts/train_factory.py
	$(BIN)/python scripts/train_commands.py

CRASH := test_journal_crash test_tree_survives test_lake_survives test_cold_start
crash: $(STAMP)/venv ## kill nodes a thousand times, cut their links, reboot without a network; count what is lost
	EDGEWISE_JOURNAL_KILLS=1000 EDGEWISE_TREE_KILLS=1000 EDGEWISE_LAKE_KILLS=100 EDGEWISE_REBOOTS=100 \
	  $(BIN)/pytest -s --timeout 14400 $(CRASH:%=tests/acceptance/%.py)

lock: ## write requirements.lock anew from the newest releases
	rm -rf $(STAMP)/lock && $(PYTHON) -m venv $(STAMP)/lock
	$(STAMP)/lock/bin/pip install --quiet --upgrade 'pip>=25.1'
	$(STAMP)/lock/bin/pip install --quiet torch==2.13.0
	$(STAMP)/lock/bin/pip install --quiet --editable '.[all]' --group dev
	$(STAMP)/lock/bin/pip freeze --exclude-editable | sed 's/+cpu//' > requirements.lock
	rm -rf $(STAMP)/lock

clean: ## remove what the commands above made
	rm -rf .venv $(STAMP) .cache build dist demo-data

# PyTorch first and alone, so that nothing after it pulls another build.
$(STAMP)/venv: pyproject.toml requirements.lock
	@mkdir -p $(STAMP)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

# An MQTT broker, a browser with its driver, fonts for Chinese, a load generator, a camera (GStreamer), and sound.
SYSTEM := mosquitto chromium chromium-driver fonts-noto-cjk wrk gir1.2-gst-rtsp-server-1.0 python3-gi libportaudio2
$(STAMP)/system:
	@mkdir -p $(STAMP)
	@missing=$$(for p in $(SYSTEM); do dpkg-query -W -f '$${Status}\n' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
	@touch $@

# Home Assistant in an environment of its own, as tests/integration/homeassistant/conftest.py looks for it.
$(STAMP)/homeassistant: tests/integration/homeassistant/requirements.txt
	@mkdir -p $(STAMP) .cache
	folder=.cache/homeassistant-$$(sha256sum $< | cut -c1-12); \
	if [ ! -e $$folder/ready ]; then \
	  rm -rf $$folder && $(PYTHON) -m venv $$folder && \
	  $$folder/bin/pip install --quiet --prefer-binary --requirement $< && touch $$folder/ready; \
	fi
	@touch $@
