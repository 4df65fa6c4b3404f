-- What `syncd why` tells of a record's past.  Nothing is written for a page that changes nothing.

CREATE TABLE syncd.page (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source       text NOT NULL,
    stream       text NOT NULL,
    cycle        bigint NOT NULL,
    number       integer,
    committed_at timestamptz NOT NULL,
    request      text NOT NULL,
    seen         integer NOT NULL,
    written      integer NOT NULL,
    unchanged    integer NOT NULL,
    left_out     integer NOT NULL,
    dead         integer NOT NULL,
    folded       integer NOT NULL,
    many         integer NOT NULL,
    changed      text[] NOT NULL
);
CREATE INDEX page_of_stream ON syncd.page (source, stream, committed_at);
COMMENT ON TABLE syncd.page IS 'Pages that changed a row or put a record aside.';
COMMENT ON COLUMN syncd.page.number IS 'Of the page in its cycle; null beside the list, for single records.';
COMMENT ON COLUMN syncd.page.committed_at IS 'The same moment as _syncd_changed_at in the rows that it changed.';
COMMENT ON COLUMN syncd.page.request IS 'What was asked and answered, without secrets.';
COMMENT ON COLUMN syncd.page.many IS 'Rows that got its moment as their _syncd_changed_at.';
COMMENT ON COLUMN syncd.page.changed IS 'Their keys, each a JSON array of the key columns'' values.';

CREATE TABLE syncd.event (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source  text NOT NULL,
    stream  text NOT NULL,
    at      timestamptz NOT NULL,
    what    text NOT NULL CHECK (what IN ('put-aside', 'retried', 'recovered', 'left-out',
                                          'discarded', 'missing', 'deleted')),
    cycle   bigint,
    page    integer,
    kind    text,
    reason  text NOT NULL DEFAULT '',
    many    integer NOT NULL,
    keys    text[] NOT NULL
);
CREATE INDEX event_of_stream ON syncd.event (source, stream, at);
COMMENT ON TABLE syncd.event IS 'What befell single records, beside being written.';
COMMENT ON COLUMN syncd.event.kind IS 'Of the dead letter.';
COMMENT ON COLUMN syncd.event.many IS 'Records that it befell at once.';
COMMENT ON COLUMN syncd.event.keys IS 'Their keys, each a JSON array; empty where they were too many to be kept.';
