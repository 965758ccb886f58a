# The sum of two numbers.

add <- function(args) args$a + args$b
