"""Files that sealed environments share by hard links, and the bytecode in them."""
