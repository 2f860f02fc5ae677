"""What runs in processes of their own, in which Triton interprets its kernels: ``check_*.py`` are not collected."""
