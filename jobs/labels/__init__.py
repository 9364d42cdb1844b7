"""Labels that people gave to reviews: in a column, in a sheet, or in a table to learn from."""
