"""Named studies, one a file; the file's name is the study's with _ for -."""
