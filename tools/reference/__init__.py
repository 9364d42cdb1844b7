"""The pages and SQL files that are made from code: options, columns of marts, statements that create them."""
