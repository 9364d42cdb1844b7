"""From marts to one HTML page."""
