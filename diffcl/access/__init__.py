"""Who may come in and what for: users, passwords, tokens, roles, and what they did. Knows no server."""
