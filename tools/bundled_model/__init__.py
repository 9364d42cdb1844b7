"""Prepare the data of the bundled model, and combine its training passes."""
