# `make reproduce` and `make test` set up their own environment in .venv; nothing but Python 3.11 or newer is needed.
PYTHON ?= python3
BENCHMARK ?= Kermany
CHAPTERS = nbs/*.ipynb nbs/core/*.ipynb nbs/method/*.ipynb nbs/plots/*.ipynb nbs/features/*.ipynb nbs/datasets/*.ipynb nbs/detect/*.ipynb nbs/rivals/*.ipynb nbs/study/*.ipynb nbs/guides/*.ipynb
REPRODUCE = $(BIN)/ddad-reproduce
ASKED = --benchmark '$(BENCHMARK)' $(if $(EXPERIMENTS),--experiments '$(EXPERIMENTS)') $(if $(EPOCHS),--epochs '$(EPOCHS)') $(if $(DATA),--data '$(DATA)')
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help install reproduce results figures explore test browser test-slow notebooks book benchmark clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ddad needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Setting up .venv: a few minutes."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq --disable-pip-version-check -c requirements.lock -e '.[dev]'
	@touch $@

install: $(INSTALLED)  ## set up .venv with the tested versions

reproduce: $(INSTALLED)  ## compute from raw images into reproduced/ and compare with figures/ (BENCHMARK=NIH, EPOCHS=paper, EXPERIMENTS=all, DATA=..., STRICT=1)
	@$(REPRODUCE) $(ASKED) $(if $(STRICT),--strict) $(ARGS)

results: $(INSTALLED)  ## for maintainers: compute what figures/ lacks of BENCHMARK and EXPERIMENTS, or add finished runs (ADD="DIR ...")
	@$(REPRODUCE) $(if $(ADD),--add $(ADD),$(ASKED)) --into figures $(ARGS)

figures: $(INSTALLED)  ## for maintainers: redraw the tables and figures in figures/ and check their findings; trains nothing
	@$(REPRODUCE) --benchmark '' --into figures $(ARGS)

explore: $(INSTALLED)  ## open the explorer, one page, on your newest run or a committed one, or on the folders RUN='A B' (DATA=... for the images)
	@$(BIN)/ddad-explore $(RUN) $(if $(DATA),--data '$(DATA)') $(ARGS)

# two processes of several threads each would wait for one another
test test-slow: export OMP_NUM_THREADS = 1

test: $(INSTALLED) browser  ## run every notebook of nbs/, with fewer images and epochs and without its cells marked slow, and all fast tests
	DDAD_EPOCHS=1 $(BIN)/nbdev_test --n_workers 2
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

browser: $(INSTALLED)  ## find or install a Chromium for the browser tests
	@for b in chromium chromium-browser google-chrome; do command -v $$b > /dev/null && exit 0; done; \
	$(BIN)/playwright install $$([ "$$(id -u)" = 0 ] && echo --with-deps) chromium || { apt-get update && apt-get install -y chromium; } || echo "There is no Chromium: the browser tests will be skipped."

test-slow: $(INSTALLED)  ## run what takes minutes: the chapters of nbs/method with the networks that they train, and the tests marked slow
	$(BIN)/nbdev_test --n_workers 2 --path nbs/method --flags slow
	$(BIN)/pytest -m slow

notebooks: $(INSTALLED)  ## export nbs/ to ddad/, execute nbs/ in place and clean it
	$(BIN)/nbdev_export
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --log-level WARN --ExecutePreprocessor.store_widget_state=False $(wildcard $(CHAPTERS))
	$(BIN)/nbdev_clean

book: $(INSTALLED)  ## build the book, a site of the notebooks as they are, into _book/html; needs no network
	@$(BIN)/python book _book

benchmark: $(INSTALLED)  ## time each stage against the plain way of doing it (DATA=... BENCHMARK=...)
	$(BIN)/python benchmarks/speed.py $(if $(DATA),--data '$(DATA)') --benchmark $(BENCHMARK) $(ARGS)

clean:  ## remove .venv, runs/, reproduced/, pages/ and _book/
	rm -rf .venv runs reproduced pages _book
