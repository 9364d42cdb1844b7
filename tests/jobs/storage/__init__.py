"""Tests of `jobs.storage`."""
