"""Studies, reports and the command line: composes the other packages; nothing imports it."""
