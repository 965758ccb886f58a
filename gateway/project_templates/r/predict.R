# Returns the miles per gallon of a car from its weight and power, with the model of fit.R.

# Once per replica: the file runs before the first request.
model <- readRDS("model.rds")

# {"weight": 1000 pounds, "horsepower": number} gives miles per gallon.
predict_mpg <- function(args) {
  car <- data.frame(wt = args$weight, hp = args$horsepower)
  unname(predict(model, car))
}
