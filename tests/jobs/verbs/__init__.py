"""Tests of `jobs.verbs`."""
