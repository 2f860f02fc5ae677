"""What keeps an attention when another library rebuilds, trains and saves the model; one optional library a file."""
