"""What everything else stands on: runs, command lines, processes, devices, files on disk."""
