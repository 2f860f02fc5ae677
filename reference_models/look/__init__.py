"""What the gates of one network say to a face."""
