# Thin names for commands that also work alone.
.PHONY: help setup demo test test-slow test-browser check bench peers bench-train

help:
	@echo "make demo    train on digits, export, sample with onnxruntime (about 5 minutes on 2 CPU cores)"
	@echo "make test    run the tests"
	@echo "make test-slow  run those that take minutes"
	@echo "make test-browser  run those that need Node.js, npm and Chromium"
	@echo "make check   lint, types, architecture"
	@echo "make bench   time exported generators against TensorFlow, tf2onnx, Keras, PyTorch (about 10 minutes)"
	@echo "make bench-train  time training against Keras, PyTorch and the classic tutorial (about 35 minutes)"
	@echo "make setup   create .venv and install into it; the others do so first where needed"

setup: .venv/installed

.venv/installed: setup.cfg pyproject.toml constraints.txt scripts/find-python
	@python=$$(PYTHON="$(PYTHON)" sh scripts/find-python) && "$$python" -m venv .venv
	.venv/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[train,dev]'
	@touch $@

demo: .venv/installed
	@sh scripts/demo

test: .venv/installed
	.venv/bin/python -m pytest -q -n 2 --dist loadfile

test-slow: .venv/installed
	.venv/bin/python -m pytest -q -m slow

test-browser: .venv/installed
	.venv/bin/python -m pytest -q -m browser

check: .venv/installed
	@sh scripts/check

bench: .venv/installed peers
	.venv/bin/python -m benchmarks.edge

peers: .venv-peers/installed

.venv-peers/installed: setup.cfg constraints.txt scripts/find-python
	@python=$$(PYTHON="$(PYTHON)" sh scripts/find-python) && "$$python" -m venv .venv-peers
	.venv-peers/bin/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[peers]'
	@touch $@

bench-train: .venv/installed peers
	.venv/bin/python -m benchmarks.train
