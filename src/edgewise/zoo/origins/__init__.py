"""Where files come from: plain addresses and package registries, each kind behind one interface."""
