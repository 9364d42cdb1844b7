"""Tests of `sentiment_core`."""
