"""Find, decompress, decode, parse and convert CSV and JSON files."""
