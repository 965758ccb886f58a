"""A model that tells of its predictions, and one that asks the gateway by the key it was given."""

import json
import os
import urllib.error
import urllib.request

import cdsw


@cdsw.model_metrics
def predict(args):
    cdsw.track_metric("input", args)
    if args == "raise":
        raise ValueError("as told")
    if args == "die":
        os._exit(7)
    return args


def ask(args):
    """`{"method", "path", "body"}`, answered by status and JSON."""
    origin = os.environ["CDSW_API_URL"].rpartition("/api/")[0]
    request = urllib.request.Request(
        origin + args["path"],
        method=args["method"],
        data=json.dumps(args["body"]).encode() if "body" in args else None,
        headers={
            "Authorization": "Bearer " + os.environ["CDSW_APIV2_KEY"],
            "Content-Type": "application/json",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return [answer.status, json.load(answer)]
    except urllib.error.HTTPError as error:
        return [error.code, json.load(error)]


def sdk(args):
    """What the functions of the SDK find out about a prediction, by a deployment's crn."""
    cdsw.track_delayed_metrics({"truth": args["truth"]}, args["uuid"])
    cdsw.track_aggregate_metrics({"mean": 0.5}, 1, 2, model_deployment_crn=args["crn"])
    return cdsw.read_metrics(model_deployment_crn=args["crn"])["metrics"]


def key(args):
    return os.environ["CDSW_APIV2_KEY"]
