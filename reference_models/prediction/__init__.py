"""What a trained network says of photographs; needs ``pip install "attnzoo[faces,train]"``."""
