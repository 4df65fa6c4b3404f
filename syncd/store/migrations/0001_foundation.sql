-- What syncd remembers.  Nothing here is needed to read your tables.
-- Long ago is 'epoch': before Postgres 17 nothing can be subtracted from '-infinity'.

CREATE TABLE syncd.lease (
    source      text PRIMARY KEY,
    fence       bigint NOT NULL DEFAULT 0,
    holder      jsonb,
    taken_at    timestamptz,
    expires_at  timestamptz NOT NULL DEFAULT 'epoch'
);
COMMENT ON TABLE syncd.lease IS 'Who has the right to run a source.';
COMMENT ON COLUMN syncd.lease.fence IS 'Fencing token: grows with every takeover; an older one writes nothing.';
COMMENT ON COLUMN syncd.lease.holder IS 'Host, boot id, PID namespace, PID and its start time, to tell whether it is gone.';

CREATE TABLE syncd.cycle (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source      text NOT NULL,
    stream      text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at    timestamptz,
    outcome     text CHECK (outcome IN ('ok', 'suspicious', 'failed', 'abandoned')),
    reason      text NOT NULL DEFAULT '',
    taken_up    integer NOT NULL DEFAULT 0,
    pages       bigint NOT NULL DEFAULT 0,
    seen        bigint NOT NULL DEFAULT 0,
    written     bigint NOT NULL DEFAULT 0,
    unchanged   bigint NOT NULL DEFAULT 0,
    left_out    bigint NOT NULL DEFAULT 0,
    folded      bigint NOT NULL DEFAULT 0,
    dead        bigint NOT NULL DEFAULT 0,
    calls       bigint NOT NULL DEFAULT 0,
    requests    bigint NOT NULL DEFAULT 0,
    retried     bigint NOT NULL DEFAULT 0,
    refused     bigint NOT NULL DEFAULT 0,
    CHECK (seen = written + unchanged + left_out + folded + dead)
);
CREATE INDEX cycle_of_stream ON syncd.cycle (source, stream, id DESC);
COMMENT ON TABLE syncd.cycle IS 'One pass over a stream: what became of every record that the API gave.';
COMMENT ON COLUMN syncd.cycle.taken_up IS 'How often it was gone on with after a stop or a trouble.';
COMMENT ON COLUMN syncd.cycle.folded IS 'Records whose key came again later in the same page; the last one won.';
COMMENT ON COLUMN syncd.cycle.refused IS 'Requests that the API refused for its quota''s sake (429).';

CREATE TABLE syncd.checkpoint (
    source      text NOT NULL,
    stream      text NOT NULL,
    seq         bigint NOT NULL DEFAULT 0,
    fence       bigint NOT NULL,
    cycle       bigint REFERENCES syncd.cycle,
    cursor      text,
    pages       integer NOT NULL DEFAULT 0,
    fingerprint text NOT NULL DEFAULT '',
    last_page   text,
    high_water  text,
    next_start  timestamptz,
    parked      text,
    PRIMARY KEY (source, stream)
);
COMMENT ON TABLE syncd.checkpoint IS 'Where each stream stands; moves in the transaction that writes the rows.';
COMMENT ON COLUMN syncd.checkpoint.cursor IS 'The request for the next page; null asks for the first one.';
COMMENT ON COLUMN syncd.checkpoint.fingerprint IS 'Of what makes the cursor valid; when it changes, the cycle starts anew.';
COMMENT ON COLUMN syncd.checkpoint.parked IS 'Why the stream waits for a person; null when it does not.';

CREATE TABLE syncd.budget (
    name         text PRIMARY KEY,
    per          double precision NOT NULL,
    hold_until   timestamptz NOT NULL DEFAULT 'epoch',
    from_answers boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE syncd.budget IS 'Requests per stretch of time, as one API allows them.';
COMMENT ON COLUMN syncd.budget.hold_until IS 'The API asked everybody to wait until then.';
COMMENT ON COLUMN syncd.budget.from_answers IS 'A request was refused unexplained: tokens count from the answer since then.';

CREATE TABLE syncd.token (
    budget      text NOT NULL REFERENCES syncd.budget ON DELETE CASCADE,
    number      integer NOT NULL,
    version     bigint NOT NULL DEFAULT 0,
    counted_at  timestamptz,
    free_at     timestamptz NOT NULL DEFAULT 'epoch',
    spent_on    text,
    retired     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (budget, number)
);
CREATE INDEX token_by_freedom ON syncd.token (budget, free_at);
COMMENT ON TABLE syncd.token IS 'One row for each request that a budget allows in its stretch of time.';
COMMENT ON COLUMN syncd.token.retired IS 'The budget allows fewer now: nobody takes it, and it goes when it is free.';
COMMENT ON COLUMN syncd.token.counted_at IS 'When the server must have counted the request; null while that is not known.';

CREATE TABLE syncd.call (
    idempotency_key text PRIMARY KEY,
    source      text NOT NULL,
    stream      text NOT NULL,
    cycle       bigint NOT NULL,
    record_key  text NOT NULL,
    intended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    outcome     text NOT NULL DEFAULT 'open' CHECK (outcome IN ('open', 'done', 'failed', 'unknown')),
    settled_at  timestamptz,
    kept        text,
    reason      text NOT NULL DEFAULT ''
);
CREATE INDEX call_of_cycle ON syncd.call (source, stream, cycle);
COMMENT ON TABLE syncd.call IS 'The ledger of record calls: stored before the first try, settled by the answer.';
COMMENT ON COLUMN syncd.call.kept IS 'What its answer gives to the row, a JSON object.';

CREATE TABLE syncd.dead_letter (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source      text NOT NULL,
    stream      text NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('contract', 'refused', 'call-failed', 'outcome-unknown')),
    identity    text NOT NULL,
    key         text,
    reason      text NOT NULL,
    attempts    integer NOT NULL DEFAULT 1,
    first_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_try    timestamptz,
    cycle       bigint,
    payload     bytea NOT NULL,
    target      text NOT NULL,
    schema_version integer NOT NULL,
    idempotency_key text,
    UNIQUE (source, stream, identity, kind)
);
COMMENT ON TABLE syncd.dead_letter IS 'Records and calls put aside, with the reason; they leave when the record succeeds.';
COMMENT ON COLUMN syncd.dead_letter.identity IS 'The key, or a hash of the payload where there is none.';
COMMENT ON COLUMN syncd.dead_letter.payload IS 'The record as the API wrote it, byte for byte: convert_from(payload, ''UTF8'').';
COMMENT ON COLUMN syncd.dead_letter.target IS 'The table that it was meant for.';
