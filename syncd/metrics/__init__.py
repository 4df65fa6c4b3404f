"""What does Prometheus learn of syncd?

    kinds      every metric: its name, type, labels and words
    tally      a listener of the loop's events: what is counted, as plain numbers
    inside     what this process has open at the moment, as `app` tells it
    samples    samples as they go out, in the order of `kinds`
    told       samples from all of these, and from the picture that the database gives
    metrics    what the side door holds: `hear`, `render`

Labels are names from the config alone: never a record's key, an address or a reason.  What the
config has no more, no series has.  Only `metrics.metrics` and `metrics.samples` import
prometheus_client, and they are imported only where the side door is configured.
"""
