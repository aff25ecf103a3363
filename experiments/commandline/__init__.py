"""The command line: options, progress, errors and reports."""
