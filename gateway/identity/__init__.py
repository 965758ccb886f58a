"""Who asks, by which key or session, and what they may do. Read from memory."""
