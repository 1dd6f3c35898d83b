"""Who may use a node: accounts and their roles, sessions, API tokens, what each may do."""
