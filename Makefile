# Thin names for commands that also work alone.
.PHONY: help setup demo test test-slow test-browser test-clients check docs bench peers bench-train bench-gpu bench-serving bench-ladder

help:
	@echo "make demo    train on digits, export, sample with onnxruntime (about 5 minutes on 2 CPU cores)"
	@echo "make test    run the tests"
	@echo "make test-slow  run those that take minutes (about 20 minutes)"
	@echo "make test-browser  run those that need Node.js, npm and Chromium"
	@echo "make test-clients  run those that need other people's clients, in .venv-clients"
	@echo "make check   lint, types, architecture"
	@echo "make docs    build the site, manual and Python reference, into build/docs"
	@echo "make bench   time exported generators against TensorFlow, tf2onnx, Keras, PyTorch (about 10 minutes)"
	@echo "make bench-train  time training against Keras, PyTorch and the classic tutorial (about 35 minutes)"
	@echo "make bench-gpu  time training on a GPU against PyTorch, eager and compiled (about an hour; BENCH=--quick: 3 minutes)"
	@echo "make bench-serving  time the HTTP server of BUNDLE=bundles/demo against LitServe and MLServer (about 20 minutes)"
	@echo "make bench-ladder  train the presets of 5, 15 and 60 minutes and judge them, alone on two cores (about 8 hours; LADDER=--list)"
	@echo "make setup   create .venv and install into it; the others do so first where needed"

setup: .venv/installed

.venv/installed: setup.cfg pyproject.toml constraints.txt scripts/find-python
	@python=$$(PYTHON="$(PYTHON)" sh scripts/find-python) && "$$python" -m venv .venv
	.venv/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[train,dev]'
	@# The extra "legacy" without what it asks for: tensorflow-cpu is TensorFlow enough.
	.venv/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt --no-deps tf-keras
	@touch $@

demo: .venv/installed
	@sh scripts/demo

# In two parts, each in new processes: what TensorFlow compiles for one test it keeps until the end. TEST: more arguments.
test: .venv/installed
	.venv/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --ignore=tests/pipeline $(TEST)
	.venv/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder tests/pipeline $(TEST)

test-slow: .venv/installed
	.venv/bin/python -m pytest -q -m slow
	.venv/bin/python -m pytest -q tests/gpu -m 'gpu or gpu_kinds or gpu_slow' --without_gpu

test-browser: .venv/installed
	.venv/bin/python -m pytest -q -m browser

test-clients: .venv/installed .venv-clients/installed
	.venv/bin/python -m pytest -q -m clients

.venv-clients/installed: tests/serving/server/clients.txt scripts/find-python
	@python=$$(PYTHON="$(PYTHON)" sh scripts/find-python) && "$$python" -m venv .venv-clients
	.venv-clients/bin/python -m pip install --disable-pip-version-check -q -r tests/serving/server/clients.txt
	@touch $@

check: .venv/installed
	@sh scripts/check

# The variable hushes an advertisement.
docs: .venv-docs/installed
	PATH="$(CURDIR)/.venv-docs/bin:$$PATH" NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build
	@echo "Done: build/docs/index.html"

.venv-docs/installed: setup.cfg constraints.txt scripts/find-python
	@python=$$(PYTHON="$(PYTHON)" sh scripts/find-python) && "$$python" -m venv .venv-docs
	.venv-docs/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[docs]'
	@touch $@

bench: .venv/installed peers
	.venv/bin/python -m benchmarks.edge

peers: .venv-peers/installed

.venv-peers/installed: setup.cfg constraints.txt scripts/find-python
	@python=$$(PYTHON="$(PYTHON)" sh scripts/find-python) && "$$python" -m venv .venv-peers
	.venv-peers/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[peers]'
	@touch $@

bench-train: .venv/installed peers
	.venv/bin/python -m benchmarks.train

bench-gpu: .venv/installed peers
	.venv/bin/python -m benchmarks.gpu $(BENCH)

bench-ladder: .venv/installed
	.venv/bin/python -m benchmarks.ladder $(LADDER)

BUNDLE = bundles/demo

bench-serving: .venv/installed .venv-litserve/installed .venv-mlserver/installed
	.venv/bin/python -m benchmarks.serving --bundle=$(BUNDLE)

.venv-%/installed: benchmarks/serving_peers/%.txt scripts/find-python
	@python=$$(PYTHON="$(PYTHON)" sh scripts/find-python) && "$$python" -m venv .venv-$*
	.venv-$*/bin/python -m pip install --disable-pip-version-check -q -r $<
	@touch $@
