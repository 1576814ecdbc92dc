# make demo and make test need Python 3.10 to 3.13 and make, nothing else; all set-up is done in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 0
DEMO := demo/seed$(SEED)

.PHONY: setup demo test test-long test-slow lint bench clean

setup: $(VENV)/installed

$(VENV)/installed: setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "mammodet needs Python 3.10 to 3.13; choose one with make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip setuptools wheel
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	touch $@

demo: setup
	rm -rf $(DEMO)
	$(BIN)/mammodet phantom $(DEMO)/phantom --config configs/demo_phantom.yaml --seed $(SEED)
	$(BIN)/mammodet split $(DEMO)/phantom/coco.json --out $(DEMO)/split --seed $(SEED)
	$(BIN)/mammodet train-det --config configs/demo.yaml --seed $(SEED) --out $(DEMO)/model \
	  --train $(DEMO)/split/train.json --val $(DEMO)/split/val.json
	$(BIN)/mammodet score $(DEMO)/split/test.json --model $(DEMO)/model/model.safetensors --out $(DEMO)/test
	@echo "a folder of DICOM files of new patients, as they come from an archive:"
	$(BIN)/mammodet phantom $(DEMO)/new --config configs/demo_phantom.yaml --seed 1000$(SEED) --patients 3
	$(BIN)/mammodet score $(DEMO)/new/images --model $(DEMO)/model/model.safetensors --out $(DEMO)/scores
	@echo "how good the detector is on the patients of the test set:"
	$(BIN)/mammodet evaluate --ground-truth $(DEMO)/split/test.json --predictions $(DEMO)/test/predictions.json \
	  --out $(DEMO)/report
	@echo "a classifier of whole images, SPPNet, from the detector's backbone, beside it:"
	$(BIN)/mammodet train-cls --config configs/sppnet_demo.yaml --seed $(SEED) --out $(DEMO)/sppnet \
	  --train $(DEMO)/split/train.json --val $(DEMO)/split/val.json --weights $(DEMO)/model/model.safetensors
	$(BIN)/mammodet classify $(DEMO)/split/test.json --model $(DEMO)/sppnet/model.safetensors --out $(DEMO)/sppnet_test
	$(BIN)/mammodet compare $(DEMO)/test/predictions.json $(DEMO)/sppnet_test/scores.csv --names detector SPPNet \
	  --ground-truth $(DEMO)/split/test.json --out $(DEMO)/compared

# One thread for each of two test processes: on two cores that is faster than two threads in one.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

test-long: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m long

test-slow: setup
	$(BIN)/pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/typed
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target build/typed .
	MYPYPATH=build/typed $(BIN)/mypy -p mammodet

bench: setup
	$(BIN)/mammodet bench

clean:
	rm -rf $(VENV) build demo
