# Follows whether the model is right: predictions, the truth that comes later, and what they make.
#
#     Rscript use_model_metrics.R                              tries it out, in memory
#     Rscript use_model_metrics.R DEPLOYMENT_CRN ACCESS_KEY    by the deployed model
#
# Deploy predict_with_metrics.R for this. The crn and the access key are on the model's page. For a
# model that asks who calls, a model API key is the third argument, if CDSW_APIV2_KEY is not set.

library(cml)

arguments <- commandArgs(trailingOnly = TRUE)
dev <- length(arguments) < 2
if (dev) {
  source("predict_with_metrics.R")
  deployment <- dev_model_deployment_crn
} else {
  deployment <- arguments[[1]]
  token <- if (length(arguments) > 2) arguments[[3]]
}

# One prediction with its uuid, by the deployed model or by its function here.
ask <- function(args) {
  if (dev) predict_mpg(args) else call_model(arguments[[2]], args, token)$response
}
now <- function() round(as.numeric(Sys.time()) * 1000)

cars <- mtcars[1:20, ]
# The time of the server's clock may differ a little from ours.
start <- now() - 1000
uuids <- vapply(seq_len(nrow(cars)), function(at) {
  ask(list(weight = cars$wt[at], horsepower = cars$hp[at]))$uuid
}, "")
end <- now() + 1000

# Later the cars are driven. Each actual value is added to its prediction.
for (at in seq_along(uuids)) {
  track_delayed_metrics(list(actual_result = cars$mpg[at]), uuids[at], dev = dev)
}

# Now predictions and truth are side by side; other calls of the model may be among them.
rows <- read_metrics(
  model_deployment_crn = deployment, start_timestamp_ms = start, end_timestamp_ms = end, dev = dev
)$metrics
errors <- unlist(lapply(rows, function(row) {
  if (row$predictionUuid %in% uuids) row$metrics$predict_result - row$metrics$actual_result
}))
mean_sq_err <- mean(errors^2)
cat(sprintf("%d predictions, mean squared error %.4f\n", length(errors), mean_sq_err))

# What was worked out is kept too, beside the predictions, for this window of time.
track_aggregate_metrics(
  list(mean_sq_err = mean_sq_err, predictions = length(errors)),
  start_timestamp_ms = start, end_timestamp_ms = end, model_deployment_crn = deployment, dev = dev
)
