"""From a verified folder of generated code to compiled functions."""
