"""Between a child and its parent: who they are, what is said, when it is tried again."""
