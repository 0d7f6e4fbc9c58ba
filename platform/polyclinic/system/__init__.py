"""Import path, worker processes, terminal output and file permissions."""
