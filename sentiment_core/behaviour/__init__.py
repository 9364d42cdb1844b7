"""Texts made of templates: what teaches a model plain language, and what tests it."""
