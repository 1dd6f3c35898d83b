"""Keys, seals and what they prove. Pure but for the file that holds the key; no network."""
