"""Studies: one file each, from measured or priced rows to a CSV, a figure and a page of findings."""
