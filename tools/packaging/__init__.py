"""Build what a cluster gets: the environment archive for executors, and an image."""
