"""The jobs behind the ``sentiment`` command: its doors, the verbs, and the rooms that do their work."""
