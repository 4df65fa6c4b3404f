"""What may a person do about a line of the log?

The same as `docs/operations.md` says, which a test holds to this table: the side door shows it
beside the line.
"""

WHAT_TO_DO = {
    "cycle-doubtful": "Look at what the API lists. Nothing was deleted; the next cycle comes as "
    "usual.",
    "caught-up": "Nothing. If it comes again and again, cycles take longer than `cron` leaves time "
    "for: look at `took` of `cycle ended`, and make it rarer.",
    "drifted": "`syncd contract show STREAM` lists it. Change `columns` or `contract`, or "
    "`syncd contract accept STREAM`.",
    "put-aside": "`syncd dead list`, `syncd dead show`. It leaves by itself when the record "
    "succeeds.",
    "deletes-held": "Look at what the API lists. Should they go: `syncd reconcile STREAM "
    "--approve`.",
    "cut-short": "Nothing: the page is fetched again at the next start.",
    "reload-refused": "Correct it (`syncd check --offline`) and reload again. A restart would "
    "fail with it.",
    "request-failed": "Nothing if it ends.",
    "requests-still-fail": "If it lasts, ask who runs the API; `reason` is the latest one.",
    "api-failing": "Nothing if it ends. See what the API's own status page says; `syncd resume "
    "STREAM` or a reload sends the probe now.",
    "api-still-failing": "See what the API's own status page says; `syncd resume STREAM` or a "
    "reload sends the probe now.",
    "postgres-away": "See whether Postgres runs and `database.url` leads to it. Where it can't "
    "be trusted (a certificate that has expired, for instance) the reason says so, and what "
    "to mend; once mended there, syncd goes on by itself.",
    "postgres-still-away": "See whether Postgres runs and `database.url` leads to it.",
    "postgres-silent": "Nothing if it ends. Else look for a lock that somebody holds "
    "(`pg_blocking_pids()`), a slow disk, or a server that hangs.",
    "postgres-still-silent": "Look for a lock that somebody holds, a slow disk, or a server that "
    "hangs.",
    "postgres-went-back": "Nothing after a failover. After a restore see docs/operations.md, "
    "After a restore.",
    "api-asked-to-wait": "Nothing. If it comes often, somebody else spends from the same quota: "
    "a smaller `budget`, or a client id of syncd's own.",
    "api-still-asks-to-wait": "If it comes often, somebody else spends from the same quota: a "
    "smaller `budget`, or a client id of syncd's own.",
    "limit-misread": "Nothing: it is not heeded. Ask who runs the API; `ratelimit_headers = false` "
    "if its headers are of no use.",
    "retries-used-up": "See whether the API is reachable from this host: `syncd check`.",
    "parked": "What `hint` says, then `syncd resume STREAM`, or a reload.",
    "door-refused": "If it was nobody of yours, see who reaches `admin.listen`; change the "
    "token if it may have been guessed or read.",
    "door-failed": "Report it.",
    "no-traces": "What `reason` says, then restart; see Traces.",
    "spans-lost": "See whether the collector runs, and what it says of "
    "`OTEL_EXPORTER_OTLP_HEADERS`. The unit's `IPAddressAllow=` must name its address.",
    "spans-still-lost": "See whether the collector runs, and whether the unit's "
    "`IPAddressAllow=` names its address.",
    "not-told": "`syncd notify test` tries it by hand. See Being told.",
    "given-up": "Mend the receiver (`reason`), and look at `syncd status`.",
    "left-untold": "Nothing: the next start delivers them, if Postgres was there to keep them.",
    "not-kept": "Give the role its rights: `syncd schema --roles`.",
    "heartbeat-failed": "Nothing if it stays an exception: the next good cycle sends another.",
    "lines-lost": "If it comes often, see `RateLimitBurst=` and the load of this host.",
    "bug": "Report it. systemd starts syncd again, and it goes on from the checkpoint.",
}
