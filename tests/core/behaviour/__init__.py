"""Tests of `sentiment_core.behaviour`."""
