"""WHAT IS DONE: the stage contract, and the stages that read, clean, deduplicate and write."""
