"""Teach and test the behaviour of a model with texts made of templates."""
