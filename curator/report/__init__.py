"""WHAT ONE SEES: progress, the table of a run, and the documents that it removed."""
