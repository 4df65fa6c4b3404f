-- Pages whose state the API has named: an answer without a body can stand for them.

CREATE TABLE syncd.known_page (
    source           text NOT NULL,
    stream           text NOT NULL,
    asked            text NOT NULL,
    read_in          bigint NOT NULL,
    read_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    judged           text NOT NULL,
    table_is         text NOT NULL,
    kept_out_version bigint NOT NULL,
    validator        text,
    of_time          boolean NOT NULL,
    next_cursor      text,
    total            bigint,
    records          bigint NOT NULL,
    left_out         bigint NOT NULL,
    folded           bigint NOT NULL,
    fingerprint      text NOT NULL,
    keys             bigint[] NOT NULL,
    PRIMARY KEY (source, stream, asked)
);
COMMENT ON TABLE syncd.known_page IS 'What each stream''s pages were when they were read whole: what a 304 stands for. A page that a whole cycle does not meet leaves at its end.';
COMMENT ON COLUMN syncd.known_page.asked IS 'A hash of its request.';
COMMENT ON COLUMN syncd.known_page.read_in IS 'The cycle that read it whole, at read_at.';
COMMENT ON COLUMN syncd.known_page.judged IS 'A hash of all that decided what became of its records.';
COMMENT ON COLUMN syncd.known_page.table_is IS 'Which table its rows are in, and how that is made.';
COMMENT ON COLUMN syncd.known_page.validator IS 'Its state as the API called it: an ETag, or a Last-Modified (of_time); null: it is read whole, and only its keys are known.';
COMMENT ON COLUMN syncd.known_page.records IS 'That gave a row or marked one as deleted, all of them.';
COMMENT ON COLUMN syncd.known_page.keys IS 'A hash of each of its records'' keys.';

CREATE UNLOGGED TABLE syncd.met_page (
    source text NOT NULL,
    stream text NOT NULL,
    cycle  bigint NOT NULL,
    asked  text NOT NULL
);
CREATE INDEX met_page_of_stream ON syncd.met_page (source, stream, cycle);
COMMENT ON TABLE syncd.met_page IS 'Pages that a running cycle has met and not read. Not logged: if it is lost, what it named is read whole in the next cycle.';
