"""Records the gates of one network on a face."""
