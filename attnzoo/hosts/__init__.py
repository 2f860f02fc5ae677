"""What keeps an attention when another library rebuilds, trains and saves the model; one library a file, each optional."""
