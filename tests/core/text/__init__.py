"""Tests of `sentiment_core.text`."""
