"""Tests of `sentiment_core.evaluation`."""
