# Benchmarks: `make bench DATA=directory` with the Large Movie Review Dataset (imdb_train.parquet, imdb_unsup.parquet), or
# without DATA on generated reviews. A command that was cut off goes on where it was. Peers whose packages are missing
# are left out and named: .venv/bin/pip install '.[bench]'.
#
# ARGS="--quick" tries a command in minutes; build/benchmarks/ holds the results, and `rm -r build/benchmarks` begins anew.

benchmark_data = $(if $(DATA),--data "$(DATA)")

.PHONY: bench bench-int8 bench-peers bench-spark bench-scale bench-growth bench-marts bench-shares bench-gpu
bench: .venv/runtime-is-ready ## measure speed, memory and accuracy beside other ways (DATA=directory)
	@$(bin)/python -m tools.benchmarks.suite $(benchmark_data) $(ARGS)

bench-int8: .venv/runtime-is-ready ## measure other forms of the int8 engine (REVIEWS=file with a column text)
	@test -n "$(REVIEWS)" || { echo "bench-int8 needs REVIEWS=file, a Parquet table with a column text" >&2; exit 2; }
	@$(bin)/python -m tools.benchmarks.int8_forms "$(REVIEWS)" $(ARGS)

bench-peers: .venv/runtime-is-ready ## measure accuracy, speed and price of what one would take instead (PREPARED=... TEACHER=...)
	@test -n "$(PREPARED)" || { echo "bench-peers needs PREPARED=directory, which tools.bundled_model.prepare writes" >&2; exit 2; }
	@$(bin)/python -m tools.benchmarks.peers --prepared "$(PREPARED)" $(if $(TEACHER),--teacher "$(TEACHER)") $(ARGS)

bench-spark: .venv/runtime-is-ready ## measure where the score job's time goes, and other forms of it (DATA=directory)
	@$(bin)/python -m tools.benchmarks.spark_forms $(benchmark_data) $(ARGS)

bench-scale: .venv/runtime-is-ready ## measure the constants of docs/evidence/scale.md and check its model (DATA=directory)
	@$(bin)/python -m tools.benchmarks.scale $(benchmark_data) $(ARGS)

bench-growth: .venv/runtime-is-ready ## measure memory and time as rows, one product or one group grow
	@$(bin)/python -m tools.benchmarks.growth $(ARGS)

bench-marts: .venv/runtime-is-ready ## measure the marts of 2 million scores, of twice as many, and the refresh of a day
	@$(bin)/python -m tools.benchmarks.marts --rows 2000000 $(ARGS)

bench-shares: .venv/runtime-is-ready ## measure estimated shares on sources that no training saw (DATA=directory)
	@test -n "$(DATA)" || { echo "bench-shares needs DATA=directory, with reviews_pool.parquet in it" >&2; exit 2; }
	@$(bin)/python -m tools.benchmarks.shares $(benchmark_data) $(ARGS)

bench-gpu: .venv/runtime-is-ready ## measure scoring on a CUDA GPU (DATA=directory)
	@$(bin)/python -m tools.benchmarks.gpu $(benchmark_data) $(ARGS)
