"""Tests of `sentiment_core.training`."""
