import cdsw


def add(args):
    return args["a"] + args["b"]


@cdsw.model_metrics
def track(args):
    result = args["a"] + args["b"]
    cdsw.track_metric("input", args)
    cdsw.track_metric("result", result)
    return result
