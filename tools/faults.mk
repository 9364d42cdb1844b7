# Faults: `make test-faults` runs what is left of the matrix (real runs, real kills, a standalone cluster), in about an
# hour, and writes docs/evidence/faults.md. An interrupted run continues; `rm -r build/faults` starts again. The
# cells with a full disk mount one, which takes root.

.PHONY: test-faults
test-faults: .venv/dev-is-ready ## kill runs at every step and at random, and check what is left (ARGS="--only text")
	@$(bin)/python -m tests.faults.matrix $(ARGS)
	@$(bin)/python -m tests.faults.matrix --sabotage $(ARGS)
	@$(bin)/python -m tests.faults.matrix --write
