"""The ``attnzoo`` command."""
