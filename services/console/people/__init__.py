"""Who asks: sessions, sign-in, what a session may do."""
