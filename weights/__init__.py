"""The shipped model files, so that an installed package finds them too."""
