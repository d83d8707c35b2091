"""What a data set is worth: the same small networks trained on every source, tested on exact renders."""
