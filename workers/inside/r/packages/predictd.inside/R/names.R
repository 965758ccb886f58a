# The other names of what projects use: CDSW's R has dots, Python's library underscores.

track_metrics <- track_metric
track.metric <- track_metric
track.metrics <- track_metric
track.file <- track_file
call.model <- call_model
read.metrics <- read_metrics
track.delayed.metrics <- track_delayed_metrics
track.aggregate.metrics <- track_aggregate_metrics
get.auth <- get_auth

# Processes that a session of the workbench starts beside its own.
launch_workers <- launch.workers <- list_workers <- list.workers <- stop_workers <-
    stop.workers <- await_workers <- await.workers <-
    function(...) stop("predictd starts no workers beside a script; use the package parallel instead")
