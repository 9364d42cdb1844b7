"""Tests of `sentiment_core.engines`."""
