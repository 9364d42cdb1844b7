"""Tests of `jobs.shaping`."""
