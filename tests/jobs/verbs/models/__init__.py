"""Tests of `jobs.verbs.models`."""
