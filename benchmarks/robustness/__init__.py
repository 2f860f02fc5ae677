"""What kills, full disks, sanitizers, other versions and other machines do to the project."""
