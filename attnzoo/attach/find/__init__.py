"""Find where attention can be attached: a copy of the model is run, and its modules and tensors are looked at."""
