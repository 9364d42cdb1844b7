"""One module an engine: padded token batches -> logits."""
