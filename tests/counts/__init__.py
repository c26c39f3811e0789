"""Laws of counts on disk and of the rules for absent chunks."""
