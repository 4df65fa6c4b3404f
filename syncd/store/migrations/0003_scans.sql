-- What a scan notes, so that rows can leave that the API does not have any more.

ALTER TABLE syncd.cycle
    ADD COLUMN follows bigint,
    ADD COLUMN reconcile boolean NOT NULL DEFAULT false,
    ADD COLUMN noted bigint NOT NULL DEFAULT 0,
    ADD COLUMN keyless bigint NOT NULL DEFAULT 0,
    ADD COLUMN missing bigint,
    ADD COLUMN deleted bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN syncd.cycle.follows IS 'The whole cycle that it comes after out of turn, repeating none of its calls; null in turn.';
COMMENT ON COLUMN syncd.cycle.reconcile IS 'It noted what it saw, to find out what is gone.';
COMMENT ON COLUMN syncd.cycle.noted IS 'Keys that it noted in syncd.seen.';
COMMENT ON COLUMN syncd.cycle.keyless IS 'Rejects whose key could not be told: they forbid deletes.';
COMMENT ON COLUMN syncd.cycle.missing IS 'Rows that it did not meet, and that stay for now; null until that is known.';
COMMENT ON COLUMN syncd.cycle.deleted IS 'Rows that it marked as deleted: two complete scans did not meet them.';

ALTER TABLE syncd.checkpoint
    ADD COLUMN extra_due text,
    ADD COLUMN reconcile_due boolean NOT NULL DEFAULT false,
    ADD COLUMN reconciled_at timestamptz,
    ADD COLUMN question text,
    ADD COLUMN usual_from bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN syncd.checkpoint.extra_due IS 'Why another cycle begins at once; null when none does.';
COMMENT ON COLUMN syncd.checkpoint.reconcile_due IS 'The next whole cycle reconciles.';
COMMENT ON COLUMN syncd.checkpoint.reconciled_at IS 'When the last complete scan began.';
COMMENT ON COLUMN syncd.checkpoint.question IS 'What a guard asks before rows may go; null when it asks nothing.';
COMMENT ON COLUMN syncd.checkpoint.usual_from IS 'Cycles up to this one do not tell what is usual.';

CREATE UNLOGGED TABLE syncd.seen (
    source  text NOT NULL,
    stream  text NOT NULL,
    key     jsonb NOT NULL
);
CREATE INDEX seen_of_stream ON syncd.seen (source, stream);
COMMENT ON TABLE syncd.seen IS 'Keys met by the scan that runs; its loss breaks the scan, and nothing is deleted.';
COMMENT ON COLUMN syncd.seen.key IS 'The key columns'' values as Postgres holds them.';

CREATE TABLE syncd.missing (
    source   text NOT NULL,
    stream   text NOT NULL,
    key      jsonb NOT NULL,
    cycle    bigint NOT NULL,
    approved boolean NOT NULL DEFAULT false
);
CREATE INDEX missing_of_stream ON syncd.missing (source, stream);
COMMENT ON TABLE syncd.missing IS 'Rows that the last complete scan did not meet.';
COMMENT ON COLUMN syncd.missing.cycle IS 'The first scan that did not meet it.';
COMMENT ON COLUMN syncd.missing.approved IS 'An operator said that it may go, however many go with it.';

ALTER TABLE syncd.request DROP CONSTRAINT request_kind_check;
ALTER TABLE syncd.request ADD CONSTRAINT request_kind_check
    CHECK (kind IN ('sync', 'pause', 'resume', 'reset', 'retry', 'reload', 'reconcile'));
