"""Files that other tools wrote: which files a source names, and how each format is read."""
