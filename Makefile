# make serve    serve the sample scans on 127.0.0.1:8000; PORT=, STUDIES=, MODELS= and RECIPE= change that
# make pacs     a DICOM archive with the sample scans on 127.0.0.1:8042, for make serve STUDIES=...; needs orthanc;
#               PACS="--port 8043 --dicom-port 4243" changes its ports
# make test     every check, then the library's tests at the newest releases of everything, then every test
# make core     the library's tests alone, without the server, at the newest releases of everything
# make check    format, lint, types and import order
# make soak     2,000 mixed requests against the real server, 20 minutes at most; REQUESTS= changes the number
# make lock     write constraints.txt anew from pyproject.toml, keeping the versions that still fit
# make clean    remove .venv, .venv-core and what builds and checks left behind; labels and runs stay
# The first command that needs an environment makes it; PYTHON=... names the Python to make it with.

SHELL := bash
.SILENT:
.PHONY: serve pacs test check core soak lock clean

PORT ?= 8000
export PORT STUDIES MODELS RECIPE PYTHON

# What can differ with the releases: no training, and nothing of the server. mamba-ssm is in .venv alone.
CORE_TESTS := diffcl $(wildcard tests/test_*.py) --ignore diffcl/web --ignore tests/networks/test_mamba.py \
	$(addprefix tests/,access cli conversion data evaluation geometry inference io listener models networks phantom \
	planning studies)

serve:
	.ci/set-up serve
	.venv/bin/diffcl serve --port "$$PORT" $${STUDIES:+--studies "$$STUDIES"} $${MODELS:+--models "$$MODELS"} \
		$${RECIPE:+--recipe "$$RECIPE"}

pacs:
	.ci/set-up serve
	.venv/bin/python tests/support/orthanc.py $(PACS)

# Both runs of the tests go on at once, the longer one in two processes, for many tests wait; what the library's run prints
# follows that of the other.
test: check
	.ci/set-up core
	output=$$(mktemp); .venv-core/bin/python -m pytest $(CORE_TESTS) >"$$output" 2>&1 & core=$$!; \
		trap 'kill $$core 2>/dev/null; rm -f "$$output"' EXIT; trap 'exit 130' INT TERM; \
		.venv/bin/python -m pytest --cov -n 2 --dist loadfile; main=$$?; \
		wait $$core; library=$$?; cat "$$output"; exit $$((main || library))

core:
	.ci/set-up test
	.ci/set-up core
	.venv-core/bin/python -m pytest $(CORE_TESTS)

check:
	.ci/set-up test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

soak:
	.ci/set-up test
	PYTHONPATH=tests/support .venv/bin/python tests/support/soak.py $${REQUESTS:+--requests "$$REQUESTS"}

lock:
	.ci/set-up test
	.venv/bin/uv pip compile pyproject.toml --extra server --extra dev --universal --python-version 3.10 \
		--no-annotate --custom-compile-command "make lock" --quiet --output-file constraints.txt

clean:
	rm -rf .venv .venv-core build dist .coverage .*_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
