# make serve    serve the sample scans on 127.0.0.1:8000; PORT=, STUDIES=, MODELS= and RECIPE= change that
# make pacs     a DICOM archive with the sample scans on 127.0.0.1:8042, for make serve STUDIES=...; needs orthanc;
#               PACS="--port 8043 --dicom-port 4243" changes its ports
# make test     every check, then every test
# make check    format, lint, types and import order
# make lock     write constraints.txt anew from pyproject.toml, keeping the versions that still fit
# make clean    remove .venv and what builds and checks left behind; labels and runs stay
# The first command that needs .venv makes it; PYTHON=... names the Python to make it with.

SHELL := bash
.SILENT:
.PHONY: serve pacs test check lock clean

PORT ?= 8000
export PORT STUDIES MODELS RECIPE PYTHON

serve:
	.ci/set-up serve
	.venv/bin/diffcl serve --port "$$PORT" $${STUDIES:+--studies "$$STUDIES"} $${MODELS:+--models "$$MODELS"} \
		$${RECIPE:+--recipe "$$RECIPE"}

pacs:
	.ci/set-up serve
	.venv/bin/python tests/support/orthanc.py $(PACS)

test: check
	.venv/bin/python -m pytest --cov

check:
	.ci/set-up test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

lock:
	.ci/set-up test
	.venv/bin/uv pip compile pyproject.toml --extra server --extra dev --universal --python-version 3.10 \
		--no-annotate --custom-compile-command "make lock" --quiet --output-file constraints.txt

clean:
	rm -rf .venv build dist .coverage .*_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
