"""The import path, worker processes, the terminal and the permissions of files."""
