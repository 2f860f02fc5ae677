"""Insert attention at sites that were found: build the layers, and put them into the model's modules."""
