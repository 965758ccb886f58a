# As predict.R, and tracks the input and output of each prediction.
#
# Deployed, it answers {"model_deployment_crn", "prediction", "uuid"}. By the uuid the actual value
# can be added later, with track_delayed_metrics().

library(cml)

model <- readRDS("model.rds")

predict_mpg <- cml_model(metrics = TRUE)(function(args) {
  track_metric("input", args)
  mpg <- unname(predict(model, data.frame(wt = args$weight, hp = args$horsepower)))
  track_metric("predict_result", mpg)
  mpg
})
