-- What a stream that has run for years needs, so that no cycle is slower for those before it.

-- A syncd that has run for years has millions of cycles.
SET LOCAL statement_timeout = 0;

-- The last good cycles, however many that were not stand after them.
CREATE INDEX cycle_good ON syncd.cycle (source, stream, id DESC)
    WHERE outcome = 'ok' AND NOT aside AND follows IS NULL;

-- Is it the one that runs?  Asked of each that goes (the foreign key).
CREATE INDEX checkpoint_cycle ON syncd.checkpoint (cycle) WHERE cycle IS NOT NULL;

-- Does a dead letter refer to it?  Asked of each call that goes.
CREATE INDEX dead_letter_call ON syncd.dead_letter (idempotency_key)
    WHERE idempotency_key IS NOT NULL;

ALTER TABLE syncd.checkpoint ADD COLUMN tidied_version bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN syncd.checkpoint.tidied_version IS 'The kept_out_version after which what came too late was looked for.';
