"""Tests of `sentiment_core.scoring`."""
