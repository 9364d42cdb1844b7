"""What options make of an input's rows and columns before they are scored."""
