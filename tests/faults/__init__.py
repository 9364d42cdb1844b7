"""The fault matrix: real runs, real kills, and what must hold after each (``make test-faults``)."""
