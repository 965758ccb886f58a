# A model that tells of its predictions, and one that asks for them.

library(cml)

predict <- cml_model(metrics = TRUE)(function(args) {
    track_metric("input", args)
    if (identical(args, "raise"))
        stop("as told")
    args
})

# What the functions of the SDK find out about a prediction, by a deployment's crn.
sdk <- function(args) {
    track_delayed_metrics(list(truth = args$truth), args$uuid)
    track_aggregate_metrics(list(mean = 0.5), 1, 2, model_deployment_crn = args$crn)
    read_metrics(model_deployment_crn = args$crn)$metrics
}
