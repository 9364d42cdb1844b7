"""Tests of `sentiment_core.dataset`."""
