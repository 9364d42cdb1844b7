"""Sample reviews, and a look at what the demo made of them."""
