"""CSV and JSON files as people have them: found, decompressed, decoded, parsed and converted."""
