"""Change rows and columns of an input before they are scored: casts, conditions, ids, nested fields."""
