"""What other tools would print from the same counts, and why it differs."""
