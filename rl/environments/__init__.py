"""Small tasks with known answers, made as streams of steps."""
