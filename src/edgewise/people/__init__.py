"""People a node knows: names, preferences, embeddings, and matching against them."""
