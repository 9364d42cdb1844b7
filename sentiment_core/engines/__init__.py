"""Compute logits of padded token batches, one module an engine."""

import os

# Before its import: else ONNX Runtime (from 1.32 on) keeps a database of its use below the home directory, with the
# machine, the interpreter's path and an identifier, and sends it to its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
