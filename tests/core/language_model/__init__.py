"""Tests of `sentiment_core.language_model`."""
