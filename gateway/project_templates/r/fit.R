# Fits fuel economy to weight and power on R's mtcars, and leaves the model in model.rds.
#
# Run it as an experiment: the metrics, the plot and model.rds are kept with the run. Its argument is
# the share of the cars that are kept for the test.

library(cdsw)

arguments <- commandArgs(trailingOnly = TRUE)
share <- if (length(arguments)) as.numeric(arguments[[1]]) else 0.25

set.seed(7)
test <- sample(nrow(mtcars), round(share * nrow(mtcars)))
model <- lm(mpg ~ wt + hp, mtcars[-test, ])
summary(model)

guessed <- predict(model, mtcars[test, ])
actual <- mtcars$mpg[test]
track.metric("mean_sq_err", mean((actual - guessed)^2))
track.metric("r2", summary(model)$r.squared)
plot(actual, guessed, xlab = "miles per gallon", ylab = "guessed")
abline(0, 1)

saveRDS(model, "model.rds")
track.file("model.rds")
