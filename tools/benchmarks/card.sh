#!/usr/bin/env bash
# The checks that need a GPU, all in one command of at most 260 seconds, on a machine that has PyTorch with CUDA and
# nothing of MXNet, Spark or Java:
#
#     bash tools/benchmarks/card.sh FOLDER
#
# FOLDER holds reviews.parquet (text, and the oracle's probability of some) and may hold pyspark.tar.gz, the Python files
# of PySpark and Py4J, so that the worker's own function is run. Results go to $OUT: gpu.json, gpu.md, tests.txt.
set -u
cd "$(dirname "$0")/../.." || exit
folder=${1:?name the folder of the reviews}
out=${OUT:-build/benchmarks}
site=$(mktemp -d)
mkdir -p "$out"
[ ! -e "$folder/pyspark.tar.gz" ] || tar xzf "$folder/pyspark.tar.gz" -C "$site"
export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
status=0
timeout 205 python3 -m tools.benchmarks.gpu --file "$folder/reviews.parquet" --directory "$out" --seconds 195 || status=$?
timeout 55 python3 -m pytest -p no:cacheprovider -rs \
  tests/core/engines/test_gpu.py tests/core/scoring/test_lanes.py tests/core/engines/test_engines.py \
  -k "(gpu or torch or lanes) and not mxnet" -n 4 >"$out/tests.txt" 2>&1 || status=$?
tail -n 25 "$out/tests.txt"
exit "$status"
