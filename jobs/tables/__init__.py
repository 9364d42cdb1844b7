"""What tables look like and how they are read."""
